"""MSN and PMSN: lightly's losses, which take the prototypes as an argument and make their own targets."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.across_ranks import mean_over_ranks
from mixhead.worker.methods.batch import Batch

SINKHORN_ITERATIONS = 3


def loss(batch: Batch) -> Tensor:
    """MSN's loss, which draws the student's mean assignment to the uniform distribution."""
    from lightly.loss import MSNLoss

    return _mean_over_targets(batch, MSNLoss)


def prior_loss(batch: Batch) -> Tensor:
    """PMSN's loss, which draws the mean assignment to a power law of exponent .25 instead."""
    from lightly.loss import PMSNLoss

    return _mean_over_targets(batch, PMSNLoss)


def _mean_over_targets(batch: Batch, kind: type[torch.nn.Module]) -> Tensor:
    """The mean loss over the teacher's views as targets. All other views of the student are the anchors. The
    mean assignment is that over all ranks."""

    class AcrossRanks(kind):  # type: ignore[misc, valid-type]  # lightly has no types
        def regularization_loss(self, mean_anchor_probs: Tensor) -> Tensor:
            made: Tensor = super().regularization_loss(mean_over_ranks(mean_anchor_probs))
            return made

    balanced = batch.config.targets.balance == "sinkhorn"
    criterion = AcrossRanks(
        temperature=batch.temperature,
        sinkhorn_iterations=SINKHORN_ITERATIONS if balanced else 0,
        gather_distributed=True,
    )
    # lightly raises softmax(cosine / T) to the power 1 / s, which gives a softmax at temperature T s.
    sharpening = batch.teacher_temperature / batch.temperature
    anchors = batch.z.chunk(batch.views)
    losses = [
        criterion(
            torch.cat([view for other, view in enumerate(anchors) if other != target]),
            rows,
            batch.prototypes,
            target_sharpen_temperature=sharpening,
        )
        for target, rows in enumerate(batch.h.chunk(batch.global_views))
    ]
    return torch.stack(losses).mean()
