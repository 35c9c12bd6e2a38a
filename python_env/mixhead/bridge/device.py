"""The runs of a client: executes them, answers, and keeps their results."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from mixhead.bridge.codec import Tensors
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import Failed, Header, RunInfo, Values
from mixhead.executor import Executor, ExecutorError, Outcome, Run
from mixhead.executor.stream import HostCopy

Reply = Callable[[Header, Tensors], object]
_UPLOAD = "upload."
_HANDLE_DIGITS = 16


class Device:
    """The executor of a client of this generation, or none. `reply` sends a message to the plugin."""

    def __init__(self, executor: Executor | None, generation: str, reply: Reply) -> None:
        self.executor = executor
        self._generation = generation
        self.reads = 0  # runs so far whose values were asked for
        self._reply = reply
        self.begin()

    def begin(self) -> None:
        """Begins with nothing, as a new connection does."""
        self._seq = 0  # of the last run that has come
        self._outcome: Outcome | None = None  # what it gave
        self._metrics: HostCopy | None = None  # not sent yet
        if self.executor is not None:
            self.executor.clear()

    @property
    def described(self) -> tuple[int, str]:
        """The version of its kernels and its name, as in a hello."""
        return (0, "") if self.executor is None else (self.executor.version, self.executor.name)

    @property
    def prototypes(self) -> Tensor | None:
        """(K, D), of the last run that named some, for use on the current stream."""
        return None if self.executor is None else self._ready(self.executor.prototypes)

    def targets(self, outcome: Outcome | None) -> Tensor | None:
        """(N, K), of that run, for use on the current stream."""
        return None if outcome is None else self._ready(outcome.targets)

    def _ready(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is not None and self.executor is not None:
            self.executor.ready(tensor)
        return tensor

    def announce(self, rows: np.ndarray | Tensor | None, count: int) -> None:
        """Keeps the rows (N, D) of a step for its run. Raises ValueError if they do not fit."""
        if self.executor is None:
            raise ValueError("rows can only be announced by a client that has an executor")
        if rows is None or rows.ndim != 2 or len(rows) != count:
            shape = None if rows is None else tuple(rows.shape)
            raise ValueError(f"{count} rows are announced, but they are of shape {shape}")
        self.executor.announce(torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows)

    def take_metrics(self) -> Tensors:
        """The metrics that travel with the next embeddings."""
        metrics, self._metrics = self._metrics, None
        return {} if metrics is None else {"metrics": metrics.wait()}

    def carry_out(self, info: RunInfo, tensors: Tensors) -> Outcome | None:
        """Executes the run of a message, once, and answers. None if it failed."""
        run = read_run(info, tensors)
        if run.seq <= self._seq:  # the same message again
            return self._outcome
        self._seq = run.seq
        self._outcome = self._run(run)
        if self._outcome is None:
            return None
        if self._outcome.metrics is not None:
            self._metrics = self._outcome.metrics
        if run.reads:
            self.reads += 1
            values = {str(index): value for index, value in enumerate(self._outcome.values)}
            self._reply(Values(self._generation, run.seq), values)
        return self._outcome

    def _run(self, run: Run) -> Outcome | None:
        try:
            if self.executor is None:
                raise ExecutorError("program", "this rank has no executor")
            return self.executor.run(run)
        except ExecutorError as error:
            self._reply(Failed(self._generation, run.seq, error.at, error.code, error.message), {})
            return None


def read_run(info: RunInfo, tensors: Tensors) -> Run:
    """A run as it travels. Raises ProtocolError if a tensor has a name that no run has."""
    uploads = {}
    for name, tensor in tensors.items():
        if not name.startswith(_UPLOAD):
            continue
        handle = name.removeprefix(_UPLOAD)
        if not handle.isascii() or not handle.isdecimal() or len(handle) > _HANDLE_DIGITS:
            raise ProtocolError(f'the plugin sent a tensor "{name:.40}", which names no handle')
        uploads[int(handle)] = tensor
    definition = tensors.get("definition")
    return Run(
        **{**structs.asdict(info), "literals": np.frombuffer(info.literals, "<f8")},
        definition=None if definition is None else definition.tobytes(),
        uploads=uploads,
    )
