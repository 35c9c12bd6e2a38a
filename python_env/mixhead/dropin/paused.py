"""`mixhead.paused`: calls that belong to no step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_paused: ContextVar[bool] = ContextVar("mixhead.paused", default=False)


@contextmanager
def paused() -> Iterator[None]:
    """Heads that are called in here, such as those of an evaluation between two steps, give logits; they
    feed no mixture, end no step and begin none."""
    token = _paused.set(True)
    try:
        yield
    finally:
        _paused.reset(token)


def is_paused() -> bool:
    return _paused.get()
