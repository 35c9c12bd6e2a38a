"""Projection heads: the learned layers between an encoder's features and the prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.norms import NormAcrossRanks, standardise


class ProjectionHead(nn.Module):
    """MLP and norm: features (N, in_dim) -> embeddings (N, dim), float32 rows of unit length.

    The linear layers start like DINO's: weights from a truncated normal of std .02, biases 0.

    Args:
        in_dim: Dimension of the features.
        hidden: Width of the MLP.
        dim: Dimension of the embeddings.
        norm: The norm before the L2 norm. "batch": a batch norm without affine parameters, which spreads out
            the narrow cone of an untrained encoder's embeddings. "none": no norm, as in DINO.

    Raises:
        ValueError: If `norm` is another word.
    """

    def __init__(self, in_dim: int, hidden: int, dim: int, norm: str = "batch") -> None:
        super().__init__()
        if norm not in ("batch", "none"):
            raise ValueError(f'norm is {norm!r}; allowed: "batch", "none"')
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
        """Features (N, in_dim) -> unit rows (N, dim). Subclasses may go on to prototypes in `forward`.

        Args:
            features: Rows of whole images, then rows of patches.
            patches: The number of patch rows. A batch norm normalises them by their own mean and variance:
                with shared statistics, the difference between patches and images would leave the images in a
                narrow cone. Running statistics are those of the images.
        """
        # The squares of the L2 norm overflow half precision, so everything after the MLP is float32.
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

    Unit rows (N, dim) -> cosines (N, components). The parameters have the names that
    ``torch.nn.utils.weight_norm`` gives them. That function is not used because its hooks break
    ``copy.deepcopy``.
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

    With ``norm="none"`` it is lightly's ``DINOProjectionHead``, with the same state dict keys.
    """

    def __init__(self, in_dim: int, hidden: int, dim: int, components: int, norm: str = "batch") -> None:
        super().__init__(in_dim, hidden, dim, norm)
        self.last_layer = NormalizedLinear(dim, components)

    def forward(self, features: Tensor) -> Tensor:
        return self.last_layer(self.embed(features))


class PrototypeMirror:
    """A copy of the mixture's prototypes, (components, dim), that is neither a parameter nor a buffer.

    So code that walks over a module (EMA, DDP, ``.half()``, ``deepcopy``) leaves it alone.
    """

    def __init__(self, components: int, dim: int, device: torch.device | str = "cpu") -> None:
        self.rows = torch.zeros(components, dim, device=device)

    @torch.no_grad()
    def update(self, rows: Tensor, indices: Tensor | None = None) -> None:
        """Overwrites the prototypes at ``indices`` (R,) with ``rows`` (R, dim).

        Args:
            rows: New prototypes, (R, dim), or (K, dim) without indices.
            indices: Their indices, (R,). None: all prototypes are replaced.

        Raises:
            ValueError: If a shape does not fit. The prototypes are unchanged then.
        """
        expected = self.rows.shape if indices is None else (len(indices), self.rows.shape[1])
        if rows.shape != torch.Size(expected):
            raise ValueError(f"prototype rows are {tuple(rows.shape)}; expected: {tuple(expected)}")
        rows = rows.to(self.rows)
        if indices is None:
            self.rows.copy_(rows)
        else:
            self.rows.index_copy_(0, indices.to(self.rows.device, torch.long), rows)

    def take(self, rows: Tensor) -> None:
        """Uses ``rows`` (K, dim) as the prototypes, without a copy.

        Nobody may write to ``rows`` afterwards, so do not combine this with ``update``.

        Raises:
            ValueError: If the shape does not fit.
        """
        if rows.shape != self.rows.shape:
            raise ValueError(f"prototype rows are {tuple(rows.shape)}; expected: {tuple(self.rows.shape)}")
        self.rows = rows

    def __call__(self, rows: Tensor) -> Tensor:
        """Unit rows (N, dim) -> cosines (N, components). Prototypes get no gradient."""
        return cosine_logits(rows, self.rows)


def cosine_logits(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines (N, K), float32, of unit rows (N, D) with unit prototypes (K, D).

    Computed outside autocast: after division by a temperature of .04, the 8 bits of bfloat16 would be off
    by .1.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return F.linear(rows.float(), prototypes.float())
