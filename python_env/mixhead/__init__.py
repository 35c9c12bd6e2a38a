"""Decoupled prototypes for self-supervised learning: a Gaussian mixture in place of a learned last layer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixhead.dropin.api import attach, prototypes, scalars, start_from, stats, step, targets, teacher
    from mixhead.dropin.paused import paused
    from mixhead.dropin.prototypes import Prototypes
    from mixhead.monitoring.monitor import monitor

__all__ = [
    "Prototypes",
    "attach",
    "monitor",
    "paused",
    "prototypes",
    "scalars",
    "start_from",
    "stats",
    "step",
    "targets",
    "teacher",
]

_MODULES = {
    "Prototypes": "mixhead.dropin.prototypes",
    "monitor": "mixhead.monitoring.monitor",
    "paused": "mixhead.dropin.paused",
}


def __getattr__(name: str) -> Any:
    """torch is loaded where it is used: the worker's launcher imports this package too, and stays small."""
    if name in __all__:
        return getattr(import_module(_MODULES.get(name, "mixhead.dropin.api")), name)
    raise AttributeError(f"module 'mixhead' has no attribute {name!r}")
