"""SwAV: swapped prediction of codes that Sinkhorn-Knopp balances."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.losses import swav_loss
from mixhead.worker.methods.batch import Batch


def loss(batch: Batch) -> Tensor:
    """Jointly as in the original: the codes are the student's own, of each global view by itself.

    Otherwise the codes are the plugin's, of all that the teacher saw together.
    """
    logits = batch.logits()
    if batch.config.prototypes != "joint":
        codes = batch.targets()
    else:
        of_views = logits.detach().chunk(batch.views)[: batch.global_views]
        codes = torch.cat([batch.balanced(view) for view in of_views])
    return swav_loss(logits, codes, batch.views, batch.temperature)
