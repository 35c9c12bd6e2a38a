"""Warns a script whose mixture has no teacher."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mixhead.dropin.reports import Reports


class MissingTeacher:
    """Checks, before a mixture's first step, that a teacher feeds it.

    It is an error if the only head is called as a student and as a teacher. It is a warning if a student is
    trained and no teacher was called.
    """

    def __init__(self, name: str, reports: Reports) -> None:
        self._name, self._reports = name, reports
        self._fed_from_outside = False  # by a module that is not a mixhead head
        self._alone_without_gradient = False  # whether the only head was called without a gradient

    def feeds_from_outside(self) -> None:
        """Records rows of a module that is not a mixhead head."""
        self._fed_from_outside = True

    def calls_alone_without_gradient(self) -> None:
        """Records a call, without a gradient, of a head in training mode that is the only one."""
        self._alone_without_gradient = True

    def must_not_be_the_student(self, heads: int) -> None:
        """Raises ValueError if a student is called, it is the only one of `heads`, and it is its own
        teacher."""
        if heads == 1 and self._alone_without_gradient and not self._fed_from_outside:
            raise ValueError(
                f'mixture "{self._name}" has one head, which is called as a student and, without a gradient, '
                "as a teacher: a teacher is a head of its own, such as copy.deepcopy(student)"
            )

    def watch(self, rows: Tensor, is_missing: Callable[[], bool]) -> None:
        """Warns if the teacher is missing at the first backward pass through a student's rows, when every
        teacher has been called."""

        def is_trained(gradient: Tensor) -> None:
            if is_missing():
                self._reports.no_teacher()

        if rows.requires_grad:
            rows.register_hook(is_trained)
