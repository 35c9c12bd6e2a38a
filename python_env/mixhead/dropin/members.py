"""The prototype layers that share a mixture, and which of them are a teacher's."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from enum import Enum, auto
from typing import Protocol

import torch
from torch import Tensor, nn


class Role(Enum):
    """Whose a layer is, as far as is known."""

    TEACHER = auto()
    STUDENT = auto()
    UNKNOWN = auto()


class Member(Protocol):
    """What a mixture asks of a prototype layer."""

    components: int
    dim: int
    training: bool
    marked: bool  # as a teacher's, by `mixhead.teacher`

    def head(self) -> nn.Module | None:
        """The head that calls it; None: not known, or it stands by itself."""


class Members:
    """The layers of one mixture, for as long as somebody else holds them.

    A teacher is a layer that was marked, or whose head has parameters, all frozen, or that is never called
    with rows that need a gradient while another one is. Running under `no_grad` proves nothing by itself:
    reentrant checkpointing runs the student so, until its backward pass.
    """

    def __init__(self) -> None:
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        self._learners: weakref.WeakSet[Member] = weakref.WeakSet()  # called with rows that need a gradient
        self._compared: weakref.WeakSet[Member] = weakref.WeakSet()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Member) -> None:
        self._members.add(member)

    def called(self, member: Member, rows: Tensor) -> Role:
        """Notes a call with these rows. Raises ValueError where two heads share tensors."""
        if rows.requires_grad:
            self._learners.add(member)
        self._must_not_share(member)
        return self.role(member)

    def role(self, member: Member) -> Role:
        if is_frozen_or_marked(member):
            return Role.TEACHER
        others = [other for other in self if other is not member]
        if member in self._learners or any(map(is_frozen_or_marked, others)):
            return Role.STUDENT
        return Role.TEACHER if any(other in self._learners for other in others) else Role.UNKNOWN

    def another_trains(self, member: Member) -> bool:
        """Whether there is a student, or what may turn out to be one, in training mode."""
        others = (other for other in self if other is not member and other.training)
        return any(self.role(other) is not Role.TEACHER for other in others)

    def device(self) -> torch.device:
        """Where they are, as far as their heads' parameters tell."""
        heads = (member.head() for member in self)
        devices = (each.device for head in heads if head is not None for each in head.parameters())
        return next((each for each in devices if each.type != "meta"), torch.device("cpu"))

    def _must_not_share(self, member: Member) -> None:
        """Looks at a head's parameters once, at its first call."""
        head = member.head()
        if head is None or member in self._compared:
            return
        self._compared.add(member)
        names = {id(parameter): name for name, parameter in head.named_parameters()}
        others = {id(each.head()): each.head() for each in self if each.head() not in (None, head)}
        for other in others.values():
            shared = [names[id(each)] for each in other.parameters() if id(each) in names]
            if shared:
                raise ValueError(
                    f"two heads of one mixture share tensors ({shared[0]}, the first of {len(shared)}): "
                    "a teacher needs tensors of its own, such as copy.deepcopy(student) makes"
                )


def is_frozen_or_marked(member: Member) -> bool:
    """Whether it was marked, or its head has parameters, none of which requires a gradient. A head without
    parameters has lost them to a wrapper that shards, and tells nothing."""
    head = member.head()
    requires = [] if head is None else [parameter.requires_grad for parameter in head.parameters()]
    return member.marked or (bool(requires) and not any(requires))


def in_backward() -> bool:
    """Whether this call recomputes an earlier one (gradient checkpointing): it begins and ends nothing."""
    return torch._C._current_graph_task_id() != -1
