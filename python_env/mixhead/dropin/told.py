"""What the plugin tells besides prototypes."""

from __future__ import annotations

import warnings

from torch import Tensor

from mixhead.bridge import BatchError, Targets
from mixhead.dropin.symptoms import Symptoms

#: No step of mixhead's own plugins reads; one value may be asked for beside a step, now and then.
_READS_BESIDE = 1


class Told:
    """The figures that a script may log, and warnings of what its user should know."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.stats: dict[str, float] = {"wait": 0.0}
        self._answers = 0
        self._components = 0
        self._said: set[str] = set()
        self._told_reads = False
        self._symptoms = Symptoms(self._warn)

    def sends(self, rows: Tensor, prototypes: Tensor, moves: bool) -> None:
        """A step goes off with unit rows (N, D), on prototypes (K, D). moves: whether these ever do."""
        self._components = len(prototypes)
        self._symptoms.sends(rows, prototypes, moves)

    def answered(self, answer: Targets, leads: bool) -> None:
        """A device tells of a bad row, as of all that it measures, when the next step is under way.

        leads: whether this is rank 0, which tells what is no fault of any rank.
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
                f"rank {drifted:.0f} held other prototypes than rank 0, and was given those of rank 0. Where "
                'that goes on, the ranks do not compute alike: take equal devices, or "placement": "host"'
            )

        if enough is not None and leads:
            used = scalars["used"]
            self._warn(
                f"{used * self._components:,.0f} of K = {self._components:,} prototypes ({used:.1%}) are in "
                f"use after {answer.step + 1:,} steps, and the number no longer grows: K = {enough:,.0f} "
                "would hold them with room to spare"
            )

    def refused(self, error: BatchError) -> None:
        self._warn(f"{error}; this step has not changed the mixture")

    def waited(self, seconds: float, reads: int) -> None:
        """`reads`: how often the plugin has asked for values of the device meanwhile."""
        self.stats["wait"] = seconds
        if self._told_reads or reads <= _READS_BESIDE or self._answers < 3:  # the first steps send programs
            return
        self._told_reads = True
        self._warn(
            f"its plugin asks for values of the device {reads} times a step, and each time the step waits "
            f"for both processes (the last one {seconds * 1e3:.1f} ms in all). mixhead's own plugins read "
            'nothing, and with "placement": "host" there is nothing to ask for'
        )

    def no_teacher(self) -> None:
        """A student has been trained, and no teacher was called before."""
        self._once(
            "it gets no embeddings: a student's head was trained, and no teacher head was called. A teacher "
            "is a head whose parameters are all frozen, or that is called under torch.no_grad() alone; mark "
            "any other with mixhead.teacher(head)"
        )

    def evaluated(self, calls: int, usual: int, which: str) -> None:
        """The teacher was called much more often than in the steps before. which: "first" or "last"."""
        self._once(
            f"the teacher was called {calls} times before its student was, and {usual} times in other steps: "
            f"all but the {which} {usual} calls are taken for an evaluation and feed nothing. Say so by "
            "`with mixhead.paused():` around the evaluation"
        )

    def only_padding(self) -> None:
        self._once("all rows of the teacher are zero, which is padding: this is no step of the mixture")

    def _once(self, sentence: str) -> None:
        kind = sentence[:20]
        if kind not in self._said:
            self._said.add(kind)
            self._warn(sentence)

    def _warn(self, sentence: str) -> None:
        warnings.warn(f'mixture "{self._name}": {sentence}', stacklevel=5)
