"""Weighted k-nearest-neighbour classification of frozen features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = (10, 20, 100, 200)
TEMPERATURE = 0.07
SIMILARITIES = 1 << 24  # that are held at once


@torch.no_grad()
def knn_predictions(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    classes: int,
    neighbours: Sequence[int] = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> dict[int, Tensor]:
    """Predicted classes (N,) of the test features (N, F) for each k, from references (M, F) with labels (M,).

    The k nearest by cosine vote with weight exp(cosine / temperature), as in DINO's evaluation; k is cut
    to the number of references. A k keeps its name when it is cut.
    """
    train_x, test_x = _directions(train_x.float()), _directions(test_x.float())
    most = min(max(neighbours), len(train_x))
    found: dict[int, list[Tensor]] = {k: [] for k in neighbours}
    for block in test_x.split(max(1, SIMILARITIES // len(train_x))):
        similarity, index = (block @ train_x.T).topk(most, dim=1)
        weights = torch.exp((similarity - 1) / temperature)
        labels = train_y[index]
        for k in neighbours:
            votes = torch.zeros(len(block), classes, device=block.device)
            votes.scatter_add_(1, labels[:, :k], weights[:, :k])
            found[k].append(votes.argmax(dim=1))
    return {k: torch.cat(parts) for k, parts in found.items()}


def _directions(x: Tensor) -> Tensor:
    """Rows of length 1. Where float32 might not hold the squares, they are divided by their largest first."""
    largest = torch.linalg.vector_norm(x, torch.inf, dim=1, keepdim=True)
    usual = (largest == 0) | ((largest >= 1e-12) & (largest <= 1e12))
    return F.normalize(x / torch.where(usual, 1.0, largest), dim=1)
