"""What the plugin tells besides prototypes."""

from __future__ import annotations

import warnings

from mixhead.bridge import BatchError, Targets

#: A student that was called so often while no teacher ever was: somebody has to be told.
_CALLS_WITHOUT_TEACHER = 50
#: No step of mixhead's own plugins reads; one value may be asked for beside a step, now and then.
_READS_BESIDE = 1


class Told:
    """The figures that a script may log, and warnings of what its user should know."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.stats: dict[str, float] = {"wait": 0.0}
        self._answers = self._student_calls = 0
        self._told_reads = False

    def answered(self, answer: Targets) -> None:
        """A device tells of a bad row, as of all that it measures, when the next step is under way."""
        scalars = dict(answer.scalars)
        step, row = scalars.pop("badStep", None), scalars.pop("badRow", None)
        drifted = scalars.pop("drifted", None)
        scalars.pop("targetTemperature", None)
        self.stats.update(scalars)
        self._answers += 1
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

    def student_called(self, steps: int) -> None:
        """A student was called, and no teacher before it. `steps`: those taken so far."""
        self._student_calls += 1
        if steps == 0 and self._student_calls == _CALLS_WITHOUT_TEACHER:
            self._warn(
                f"it gets no embeddings: no teacher head was called in {_CALLS_WITHOUT_TEACHER} calls of the "
                "student. A teacher is a head none of whose parameters requires a gradient; mark any other "
                "with mixhead.teacher(head)"
            )

    def _warn(self, sentence: str) -> None:
        warnings.warn(f'mixture "{self._name}": {sentence}', stacklevel=5)
