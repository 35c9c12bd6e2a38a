"""The teacher rows of a step before they are sent, and which of them count."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mixhead.dropin.members import Members, Role
from mixhead.dropin.rows import Rows

#: A teacher that is called this many times as often as in earlier steps is being evaluated.
_EVALUATION = 4


class Collected:
    """The teacher's calls since the rows of a step were last sent.

    `usual`: the number of teacher calls in a usual step; 0 if it is not known yet.
    """

    def __init__(self, usual: int = 0) -> None:
        self.usual = usual
        self.clear()

    def clear(self) -> None:
        self._rows: list[Rows] = []
        self.calls = 0

    def __len__(self) -> int:
        """The number of calls whose rows are kept."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Rows]:
        return iter(self._rows)

    def add(self, rows: Rows) -> None:
        self.calls += 1
        self._rows.append(rows)

    def limit(self, led: bool) -> None:
        """Keeps no more calls than can count, so that an evaluation does not fill the memory.

        led: whether the student was called first, so that the step's calls are the first ones.
        """
        if self.usual and len(self) > _EVALUATION * self.usual:
            del self._rows[-1 if led else 0]

    def drop_students(self, members: Members) -> None:
        """Drops rows of layers that have turned out to be a student's."""
        self._rows = [
            rows
            for rows in self._rows
            if rows.caller is None or members.role(rows.caller) is not Role.STUDENT
        ]

    def drop_evaluation(self, led: bool) -> bool:
        """Drops the calls of an evaluation, and returns whether there was one.

        The teacher was called much more often than in other steps then. Only the calls nearest to the
        student's call of this step are kept.
        """
        usual = self.usual
        if usual and self.calls > _EVALUATION * usual:
            self._rows = self._rows[:usual] if led else self._rows[-usual:]
            return True
        self.usual = max(usual, self.calls)
        return False

    def real(self) -> Tensor:
        """The rows that are not padding, (n, D) float32."""
        return torch.cat([rows.real() for rows in self._rows])

    def padding(self) -> Tensor:
        """Which rows are padding, (m,) bool on the CPU."""
        return torch.cat([rows.padding() for rows in self._rows])
