"""Projection heads: the learned part between an encoder's features and the prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.norms import NormAcrossRanks, standardise


class ProjectionHead(nn.Module):
    """MLP and norm: features (N, in_dim) -> embeddings (N, dim), float32 rows of unit length.

    ``norm`` is what stands before the L2 norm: ``batch``, a batch norm without affine parameters,
    opens the narrow cone that an untrained encoder's embeddings fill; ``none`` is the head of DINO.
    The linear layers start as DINO's: truncated normal of std .02, biases 0.
    """

    def __init__(self, in_dim: int, hidden: int, dim: int, norm: str = "batch") -> None:
        super().__init__()
        if norm not in ("batch", "none"):
            raise ValueError(f'norm is "batch" or "none", not {norm!r}')
        self.layers = nn.Sequential(
            nn.Linear(in_dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, dim),
        )
        self.dim = dim
        self.norm = nn.BatchNorm1d(dim, affine=False) if norm == "batch" else nn.Identity()
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def embed(self, features: Tensor, patches: int = 0) -> Tensor:
        """Features (N, in_dim) -> unit rows (N, dim), also where ``forward`` goes on to prototypes.

        The last so many rows are of patches: a batch norm has their own mean and variance for them, since
        what sets them apart from whole images would leave these a narrow cone. It remembers the images'.
        """
        # Half precision has no room for the squares of the L2 norm, so what follows the MLP is float32.
        rows = self.layers(features).float()
        images = self.norm(rows[: len(rows) - patches])
        if patches == 0:
            return F.normalize(images, dim=-1)
        return F.normalize(torch.cat([images, self._patch_norm(rows[-patches:])]), dim=-1)

    def _patch_norm(self, rows: Tensor) -> Tensor:
        if isinstance(self.norm, NormAcrossRanks):
            return standardise(rows, self.norm.eps)[0]
        if not isinstance(self.norm, nn.BatchNorm1d):
            return rows
        return F.batch_norm(rows, None, None, training=True, eps=self.norm.eps)

    def forward(self, features: Tensor) -> Tensor:
        return self.embed(features)


class NormalizedLinear(nn.Module):
    """Weight-normalised linear layer without bias: rows w_k = g_k v_k / |v_k|, g_k = 1 and fixed.

    Unit rows in give cosines out: (N, dim) -> (N, components). The parameters are named as
    ``torch.nn.utils.weight_norm`` names them, whose hooks break ``copy.deepcopy``.
    """

    def __init__(self, dim: int, components: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(components, 1), requires_grad=False)
        self.weight_v = nn.Parameter(torch.empty(components, dim))
        nn.init.kaiming_uniform_(self.weight_v, a=5**0.5)

    @property
    def weight(self) -> Tensor:
        """The normalised rows, (components, dim)."""
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))

    def forward(self, rows: Tensor) -> Tensor:
        return cosine_logits(rows, self.weight)


class JointHead(ProjectionHead):
    """The head of DINO: projection and learned prototypes, (N, in_dim) -> cosines (N, components).

    With ``norm="none"`` it is lightly's ``DINOProjectionHead``, names of the state's keys included.
    """

    def __init__(self, in_dim: int, hidden: int, dim: int, components: int, norm: str = "batch") -> None:
        super().__init__(in_dim, hidden, dim, norm)
        self.last_layer = NormalizedLinear(dim, components)

    def forward(self, features: Tensor) -> Tensor:
        return self.last_layer(self.embed(features))


class PrototypeMirror:
    """The mixture's prototypes as the encoder sees them: a tensor outside all parameters and buffers.

    Nothing that walks over a module (EMA, DDP, ``.half()``, ``deepcopy``) can touch it.
    """

    def __init__(self, components: int, dim: int, device: torch.device | str = "cpu") -> None:
        self.rows = torch.zeros(components, dim, device=device)

    @torch.no_grad()
    def update(self, rows: Tensor, indices: Tensor | None = None) -> None:
        """Takes over ``rows`` (R, dim) at ``indices`` (R,), or all of them (K, dim) without indices.

        Raises ValueError where a shape does not fit; nothing has changed then.
        """
        expected = self.rows.shape if indices is None else (len(indices), self.rows.shape[1])
        if rows.shape != torch.Size(expected):
            raise ValueError(f"prototype rows are {tuple(rows.shape)} where {tuple(expected)} was expected")
        rows = rows.to(self.rows)
        if indices is None:
            self.rows.copy_(rows)
        else:
            self.rows.index_copy_(0, indices.to(self.rows.device, torch.long), rows)

    def take(self, rows: Tensor) -> None:
        """Has ``rows`` (K, dim), which nobody writes to, as its prototypes from now on, without a copy.

        Not for a mirror that is also ``update``d. Raises ValueError where the shape does not fit.
        """
        if rows.shape != self.rows.shape:
            raise ValueError(
                f"prototype rows are {tuple(rows.shape)} where {tuple(self.rows.shape)} was expected"
            )
        self.rows = rows

    def __call__(self, rows: Tensor) -> Tensor:
        """Cosines of unit rows (N, dim) with the prototypes, (N, components); no gradient to these."""
        return cosine_logits(rows, self.rows)


def cosine_logits(rows: Tensor, prototypes: Tensor) -> Tensor:
    """rows (N, D) . prototypes (K, D), both of unit rows -> (N, K) float32 in [-1, 1].

    Outside autocast: divided by a temperature of .04, the 8 bits of bfloat16 would be off by .1.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return F.linear(rows.float(), prototypes.float())
