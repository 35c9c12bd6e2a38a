"""Collects the plugin's figures, and warns about problems."""

from __future__ import annotations

from torch import Tensor

from mixhead.bridge import BatchError, Targets
from mixhead.dropin.symptoms import Symptoms
from mixhead.warn import warn

#: mixhead's own plugins read nothing in a step. They may read one value between steps now and then.
_READS_BESIDE = 1


class Reports:
    """The figures of one mixture for a script to log, and the warnings about it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.stats: dict[str, float] = {"wait": 0.0}
        self._answers = 0
        self._components = 0
        self._given: set[str] = set()
        self._symptoms = Symptoms(self._warn)

    def sends(self, rows: Tensor, prototypes: Tensor, moves: bool) -> None:
        """Records that unit rows (N, D) are sent. prototypes: (K, D). moves: whether the plugin ever moves
        them."""
        self._components = len(prototypes)
        self._symptoms.sends(rows, prototypes, moves)

    def answered(self, answer: Targets, leads: bool) -> None:
        """Records the answer to a step. A mixture on a device reports its figures, bad rows included, one
        step late.

        leads: whether this is rank 0, which gives the warnings that do not concern a single rank.
        """
        scalars = dict(answer.scalars)
        step, row = scalars.pop("badStep", None), scalars.pop("badRow", None)
        drifted = scalars.pop("drifted", None)
        enough = scalars.pop("enoughComponents", None)
        scalars.pop("targetTemperature", None)
        self.stats.update(scalars)
        self._answers += 1
        self._symptoms.answers(scalars)
        if step is not None:
            self._warn(
                f"row {row:.0f} of the embeddings of step {step:.0f} was not finite or all zero; "
                "that step has not changed the mixture"
            )
        if drifted is not None:
            self._warn(
                f"rank {drifted:.0f} held other prototypes than rank 0, and was given those of rank 0. If "
                'this continues, the ranks do not compute alike: use equal devices, or "placement": "host"'
            )

        if enough is not None and leads:
            used = scalars["used"]
            self._warn(
                f"{used * self._components:,.0f} of K = {self._components:,} prototypes ({used:.1%}) are in "
                f"use after {answer.step + 1:,} steps, and the number no longer grows: K = {enough:,.0f} "
                "would be more than enough"
            )

    def refused(self, error: BatchError) -> None:
        """Warns that the plugin refused a step's rows."""
        self._warn(f"{error}; this step has not changed the mixture")

    def waited(self, seconds: float, reads: int) -> None:
        """Records the wait for an answer. reads: how often the plugin read from the device meanwhile."""
        self.stats["wait"] = seconds
        if reads <= _READS_BESIDE or self._answers < 3:  # the first steps send programs
            return
        self._once(
            "reads",
            f"its plugin reads values from the device {reads} times a step, and each time the step waits "
            f"for both processes (the last step {seconds * 1e3:.1f} ms in all). mixhead's own plugins read "
            'nothing, and with "placement": "host" nothing has to be read',
        )

    def no_teacher(self) -> None:
        """Warns that a student was trained before any teacher was called."""
        self._once(
            "no teacher",
            "it gets no embeddings: a student's head was trained, and no teacher head was called. A teacher "
            "is a head whose parameters are all frozen, or that is only called under torch.no_grad(); mark "
            "any other with mixhead.teacher(head)",
        )

    def evaluated(self, calls: int, usual: int, which: str) -> None:
        """Warns that the teacher was called much more often than in other steps.

        which: which of the calls count, "first" or "last".
        """
        self._once(
            "evaluated",
            f"the teacher was called {calls} times before its student was, and {usual} times in other steps: "
            f"all but the {which} {usual} calls are taken for an evaluation and feed nothing. Put "
            "`with mixhead.paused():` around the evaluation",
        )

    def only_padding(self) -> None:
        """Warns that a step had only padding."""
        self._once(
            "only padding",
            "all rows of the teacher are zero, so they are padding, and the mixture takes no step",
        )

    def _once(self, kind: str, sentence: str) -> None:
        if kind not in self._given:
            self._given.add(kind)
            self._warn(sentence)

    def _warn(self, sentence: str) -> None:
        warn(f'mixture "{self._name}": {sentence}')
