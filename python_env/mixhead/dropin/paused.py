"""`mixhead.paused`: calls of heads outside any step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_paused: ContextVar[bool] = ContextVar("mixhead.paused", default=False)


@contextmanager
def paused() -> Iterator[None]:
    """Pauses all mixtures: heads called inside give logits, but feed no mixture and affect no step.

    Example:
        >>> with mixhead.paused():
        ...     evaluate(teacher)
    """
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


def is_paused() -> bool:
    return _paused.get()
