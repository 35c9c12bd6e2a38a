"""The mixtures of this process, by name."""

from __future__ import annotations

import atexit

from mixhead.dropin.mixture import Mixture
from mixhead.dropin.plugin_process import stop_plugins

_mixtures: dict[str, Mixture] = {}


def mixture(name: str) -> Mixture:
    """The mixture of that name, created at the first call."""
    if name not in _mixtures:
        _mixtures[name] = Mixture(name)
    return _mixtures[name]


def mixtures() -> list[Mixture]:
    return list(_mixtures.values())


@atexit.register
def _end() -> None:
    for each in mixtures():
        each.close()
    stop_plugins()
