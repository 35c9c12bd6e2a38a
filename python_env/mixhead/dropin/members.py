"""The prototype layers that share a mixture, and which of them belong to a teacher."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from enum import Enum, auto
from typing import Protocol

import torch
from torch import Tensor, nn


class Role(Enum):
    """Whether a layer is a teacher's or a student's, as far as known."""

    TEACHER = auto()
    STUDENT = auto()
    UNKNOWN = auto()


class Member(Protocol):
    """A prototype layer, as a mixture sees it."""

    components: int
    dim: int
    training: bool
    marked: bool  # as a teacher's, by `mixhead.teacher`

    def head(self) -> nn.Module | None:
        """The head that the layer belongs to; None if it is unknown or if there is none."""


class Members:
    """The layers of one mixture, held by weak references.

    A layer is a teacher's if it was marked, or if all parameters of its head are frozen. So is a layer that
    is never called with rows that need a gradient while another layer is. Running under `no_grad` alone
    proves nothing: reentrant checkpointing runs the student in this way until its backward pass.
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
        """Records a call with these rows. Raises ValueError if two heads share tensors."""
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
        """Whether another layer in training mode is, or may turn out to be, a student's."""
        others = (other for other in self if other is not member and other.training)
        return any(self.role(other) is not Role.TEACHER for other in others)

    def device(self) -> torch.device:
        """The device of their heads' parameters; the CPU if there are none."""
        heads = (member.head() for member in self)
        devices = (each.device for head in heads if head is not None for each in head.parameters())
        return next((each for each in devices if each.type != "meta"), torch.device("cpu"))

    def _must_not_share(self, member: Member) -> None:
        """Compares a head's parameters with those of the others, once, at its first call."""
        head = member.head()
        if head is None or member in self._compared:
            return
        self._compared.add(member)
        names = {id(parameter): name for name, parameter in head.named_parameters()}
        heads = (each.head() for each in self)
        others = {id(other): other for other in heads if other is not None and other is not head}
        for other in others.values():
            shared = [names[id(each)] for each in other.parameters() if id(each) in names]
            if shared:
                raise ValueError(
                    f"two heads of one mixture share tensors ({shared[0]}, the first of {len(shared)}): "
                    "a teacher needs tensors of its own, such as copy.deepcopy(student) makes"
                )


def is_frozen_or_marked(member: Member) -> bool:
    """Whether the layer was marked, or its head has parameters and none of them requires a gradient.

    A head without parameters proves nothing: a sharding wrapper may have taken them."""
    head = member.head()
    requires = [] if head is None else [parameter.requires_grad for parameter in head.parameters()]
    return member.marked or (bool(requires) and not any(requires))


def in_backward() -> bool:
    """Whether this call recomputes an earlier one for gradient checkpointing. Such a call affects no step."""
    return torch._C._current_graph_task_id() != -1
