"""The heads that share a mixture."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class Head(Protocol):
    """What a mixture asks of a head."""

    training: bool

    def is_teacher(self) -> bool: ...

    def parameters(self) -> Iterator[Tensor]: ...


class Members:
    """The heads of one mixture, as long as somebody else holds them."""

    def __init__(self) -> None:
        self._heads: weakref.WeakSet[Head] = weakref.WeakSet()

    def __bool__(self) -> bool:
        return bool(self._heads)

    def add(self, head: Head) -> None:
        self._heads.add(head)

    def feeds(self, head: Head) -> bool:
        """Whether the rows of this call belong to the mixture: a teacher's, while a student trains."""
        return (
            head.is_teacher()
            and not in_backward()
            and any(other.training and not other.is_teacher() for other in self._heads)
        )

    def ends_a_step(self, head: Head) -> bool:
        """Whether this call is a student's in training."""
        return head.training and not head.is_teacher() and not in_backward()

    def device(self) -> torch.device:
        """Where they are, as far as their parameters tell."""
        parameters = (each for head in self._heads for each in head.parameters())
        return next((each.device for each in parameters), torch.device("cpu"))


def in_backward() -> bool:
    """Whether this call recomputes an earlier one (gradient checkpointing): it begins and ends nothing."""
    return torch._C._current_graph_task_id() != -1
