"""KoLeo: a regulariser that spreads rows over the sphere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 1e-8


def koleo_loss(rows: Tensor, block: int = 4096) -> Tensor:
    """Minus the mean log distance of each row to its nearest neighbour, after L2 normalisation.

    The value is that of lightly's KoLeoLoss. Cosines are computed for `block` rows at a time, so the N x N
    matrix is never held.

    Args:
        rows: Embeddings, (N, D), of any length.
        block: Rows in a block.

    Returns:
        The loss, a scalar.
    """
    rows = F.normalize(rows, dim=-1, eps=_LEAST)
    nearest = rows[_nearest(rows.detach(), block)]
    return -(F.pairwise_distance(rows, nearest, eps=_LEAST) + _LEAST).log().mean()


def _nearest(rows: Tensor, block: int) -> Tensor:
    """For each unit row (N, D) the index of its nearest neighbour, (N,)."""
    found = []
    for start in range(0, len(rows), block):
        cosines = rows[start : start + block] @ rows.T
        cosines.diagonal(start).fill_(-2)
        found.append(cosines.argmax(dim=1))
    return torch.cat(found)
