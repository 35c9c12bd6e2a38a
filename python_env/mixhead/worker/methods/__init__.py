"""The methods: how views, prototypes and targets make a loss. One small file each, chosen by ``method``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mixhead.worker.methods import carp, dino, ibot, msn, swav
from mixhead.worker.methods.batch import Batch

#: What a method's loss is: a scalar, from all that one step compares.
LOSSES: dict[str, Callable[[Batch], Tensor]] = {
    "dino": dino.loss,
    "ibot": ibot.loss,
    "carp": carp.loss,
    "swav": swav.loss,
    "msn": msn.loss,
    "pmsn": msn.prior_loss,
}

__all__ = ["LOSSES", "Batch"]
