"""KoLeo: rows that spread over the sphere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 1e-8


def koleo_loss(rows: Tensor, block: int = 4096) -> Tensor:
    """-mean log of the distance of each row (N, D) to its nearest other, the rows brought to unit length.

    lightly's KoLeoLoss, but the cosines are of ``block`` rows with all others at a time: never N x N numbers.
    """
    rows = F.normalize(rows, dim=-1, eps=_LEAST)
    nearest = rows[_nearest(rows.detach(), block)]
    return -(F.pairwise_distance(rows, nearest, eps=_LEAST) + _LEAST).log().mean()


def _nearest(rows: Tensor, block: int) -> Tensor:
    """For each of the unit rows the index of the nearest other one, (N,)."""
    found = []
    for start in range(0, len(rows), block):
        cosines = rows[start : start + block] @ rows.T
        cosines.diagonal(start).fill_(-2)
        found.append(cosines.argmax(dim=1))
    return torch.cat(found)
