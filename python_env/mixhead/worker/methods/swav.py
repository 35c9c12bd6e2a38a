"""SwAV: views predict each other's codes, which Sinkhorn-Knopp balances."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.losses import swav_loss
from mixhead.worker.methods.batch import Batch


def loss(batch: Batch) -> Tensor:
    """SwAV's loss, with codes that depend on the arm.

    In the joint arm they are the student's, balanced for each global view separately, as in the original. In
    the other arms they are the teacher's targets, balanced for all global views together.
    """
    logits = batch.logits()
    if batch.config.prototypes != "joint":
        codes = batch.targets()
    else:
        of_views = logits.detach().chunk(batch.views)[: batch.global_views]
        codes = torch.cat([batch.balanced(view) for view in of_views])
    return swav_loss(logits, codes, batch.views, batch.temperature)
