"""Target rows, from the plugin or computed in this rank."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.bridge import Targets
from mixhead.cosines import cosine_logits
from mixhead.executor.modes import plain_torch
from mixhead.losses import sinkhorn_targets, softmax_targets
from mixhead.mirror import Mirror


def target_rows(answer: Targets, rows: Tensor, mirror: Mirror, balance: str) -> Tensor | None:
    """Targets (N, K) for the teacher's rows (N, D) of a step, from the prototypes after the step.

    The plugin either sends them, or sends a temperature at which this rank computes them. None if it sends
    neither. All are NaN if a row is not finite or all zero; on a device the plugin reports that only a step
    later.

    mirror: the prototypes after the step. balance: the configuration's `targets.balance`.
    """
    temperature = answer.scalars.get("targetTemperature")
    with plain_torch(rows.device):  # the script may call this under autocast, or have allowed TF32
        if temperature is None:
            made = answer.targets
            if isinstance(made, Tensor):
                return torch.where(_are_usable(rows), made, torch.nan)
            return None if made is None else torch.from_numpy(made)
        rows = torch.where(_are_usable(rows), rows, torch.nan)
        logits = cosine_logits(rows, mirror.on(rows.device, torch.float32))
        return (sinkhorn_targets if balance == "sinkhorn" else softmax_targets)(logits, temperature)


def _are_usable(rows: Tensor) -> Tensor:
    largest = rows.abs().amax(dim=1)
    return (largest.isfinite() & (largest > 0)).all()
