"""Defers a script's own signal handlers while a mixture talks to its plugin.

A handler that saves a checkpoint asks for the mixture's state. In the middle of another exchange with the
plugin it would take the answer to that exchange. So a handler runs when the exchange is over.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ParamSpec, TypeVar

#: Schedulers and launchers send these so that a script saves its state. Ctrl-C still ends a wait.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_depth = 0


def signals_deferred(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Defers signal handlers until `function` returns or raises."""

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _deferred():
            return function(*args, **kwargs)

    return wrapped


@contextmanager
def _deferred() -> Iterator[None]:
    global _depth
    if _depth > 0 or threading.current_thread() is not threading.main_thread():
        yield  # already deferred; or not the main thread, in which no handler runs
        return
    came: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {
        number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, lambda *signalled: came.append(signalled))
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signalled in came:
            handlers[signalled[0]](*signalled)
