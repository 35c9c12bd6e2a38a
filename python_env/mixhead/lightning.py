"""Logs mixhead's figures in a Lightning trainer."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import mixhead

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer


def _callback() -> type:
    """The base class of callbacks. Lightning comes in two packages, each of which wants its own, so with both
    installed it is a subclass of both."""
    installed = [name for name in ("lightning", "pytorch_lightning") if find_spec(name)]
    if not installed:
        raise ModuleNotFoundError("mixhead.lightning needs Lightning: `pip install lightning`")
    modules = ["lightning.pytorch" if name == "lightning" else name for name in installed]
    return type("Callback", tuple(import_module(name).Callback for name in modules), {})


if not TYPE_CHECKING:
    Callback = _callback()


class StatsCallback(Callback):  # type: ignore[misc]  # its base depends on the installed package
    """Logs `mixhead.scalars()` to every logger of the trainer, and makes them available to other callbacks.

    Args:
        every: Steps between two logs. None: the trainer's `log_every_n_steps`.
        prefix: Put before every name.
        name: The mixture.

    Raises:
        ValueError: If `every` is below 1.

    Example:
        >>> Trainer(callbacks=[StatsCallback(), ModelCheckpoint(monitor="mixhead/used", mode="max")])
    """

    def __init__(self, every: int | None = None, prefix: str = "mixhead/", name: str = "default") -> None:
        super().__init__()
        if every is not None and every < 1:
            raise ValueError(f"StatsCallback: every is {every}; allowed: whole numbers from 1")
        self._every, self._prefix, self._name = every, prefix, name
        self._logged = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every, step = self._every or trainer.log_every_n_steps, trainer.global_step
        if every == 0 or step % every or step == self._logged:  # gradient accumulation repeats a step
            return
        self._logged = step
        scalars = mixhead.scalars(self._prefix, self._name)
        pl_module.log_dict(scalars, logger=False)  # for callbacks; it logs at the trainer's interval
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step)
