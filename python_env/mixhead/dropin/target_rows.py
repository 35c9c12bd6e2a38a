"""Target rows, whoever makes them: the plugin, or this rank from the rows that it holds."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.bridge import Targets
from mixhead.dropin.mirror import Mirror
from mixhead.executor.modes import plain_torch
from mixhead.heads import cosine_logits
from mixhead.losses import sinkhorn_targets, softmax_targets


def target_rows(answer: Targets, rows: Tensor, mirror: Mirror, balance: str) -> Tensor | None:
    """(N, K), for the teacher's rows (N, D) of a step, on the prototypes that the step has left.

    The plugin says at which temperature this rank is to make them, or makes them itself. None: it does
    neither. NaN where a row is not finite or all zero: a device tells of that a step later.

    mirror: the prototypes that the step has left. balance: the configuration's `targets.balance`.
    """
    temperature = answer.scalars.get("targetTemperature")
    with plain_torch(rows.device):  # a script may call this under autocast, and allow TF32
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
