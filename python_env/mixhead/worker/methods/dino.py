"""DINO: each view of the student predicts the teacher's targets for the other views."""

from __future__ import annotations

from torch import Tensor

from mixhead.losses import dino_loss
from mixhead.worker.methods.batch import Batch


def loss(batch: Batch) -> Tensor:
    return dino_loss(batch.logits(), batch.targets(), batch.views, batch.temperature)
