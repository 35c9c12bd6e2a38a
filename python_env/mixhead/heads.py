"""Projection heads: the learned layers between an encoder's features and the prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.joint import CosinePrototypes
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
        """Features (N, in_dim) -> unit rows (N, dim). Subclasses may append prototypes in `forward`.

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


class JointHead(ProjectionHead):
    """The head of DINO: projection and learned prototypes, (N, in_dim) -> cosines (N, components).

    With ``norm="none"`` it is lightly's ``DINOProjectionHead``, with the same state dict keys.
    """

    def __init__(self, in_dim: int, hidden: int, dim: int, components: int, norm: str = "batch") -> None:
        super().__init__(in_dim, hidden, dim, norm)
        self.last_layer = CosinePrototypes(dim, components)

    def forward(self, features: Tensor) -> Tensor:
        cosines: Tensor = self.last_layer(self.embed(features))
        return cosines
