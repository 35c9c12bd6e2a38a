"""The methods of training, one file each. The setting ``method`` chooses one."""

from __future__ import annotations

from pathlib import Path

from mixhead.worker.config import Config
from mixhead.worker.errors import WorkerError
from mixhead.worker.methods import carp, dino, ibot, msn, swav
from mixhead.worker.methods.batch import Batch
from mixhead.worker.methods.method import Method

METHODS = {
    "dino": Method(dino.loss),
    "ibot": Method(ibot.loss, mask=ibot.draw_mask),
    "carp": Method(carp.loss),
    "swav": Method(swav.loss),
    "msn": Method(msn.loss),
    "pmsn": Method(msn.prior_loss),
}


def method_of(config: Config) -> Method:
    """The method that a configuration names. Raises WorkerError if there is no such method."""
    if config.method not in METHODS:
        # The plugin knows it, so its author has not added the loss yet, or another mixhead is installed here.
        raise WorkerError(
            f"configuration: method {config.method!r} has no loss in {Path(__file__).parent}: "
            f"METHODS in its __init__.py has only {', '.join(METHODS)}"
        )
    return METHODS[config.method]


__all__ = ["METHODS", "Batch", "Method", "method_of"]
