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
    train_x, test_x = F.normalize(train_x.float(), dim=1), F.normalize(test_x.float(), dim=1)
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
