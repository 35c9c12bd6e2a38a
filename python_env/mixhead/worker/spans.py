"""Times the parts of a step, and writes a trace if one is requested."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import torch

from mixhead.executor import Executor, Outcome, Run

#: The variable with the name of the trace file. `mixhead train --trace` sets it, and merges the files.
VARIABLE = "MIXHEAD_TRACE"
_HOST = 1  # the host's lane; viewers use 0 themselves


class Spans:
    """Times named parts of a step: ``with span("teacher"): ...``. Spans may be nested.

    ``seconds`` holds the duration of the last span of each name on the host. The trace has a lane for the
    host and, on CUDA, a lane for each stream. There a span lasts from the device's first operation to its
    last. As a context manager, it completes the trace on exit.
    """

    def __init__(self, device: torch.device, path: str | None = None) -> None:
        self.seconds: dict[str, float] = {}
        path = path or os.environ.get(VARIABLE)
        self._trace = _Trace(Path(path), device) if path else None

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:
        """Times a block, which must stay on the current stream.

        ``step``: the number of the step that begins with this span.
        """
        trace = self._trace
        if trace is not None and step is not None:
            trace.step = step
        began = time.monotonic_ns()
        first = trace.mark() if trace is not None else None
        try:
            yield
        finally:
            ended = time.monotonic_ns()
            self.seconds[name] = (ended - began) / 1e9
            if trace is not None:
                trace.add(name, began, ended, first, trace.mark())

    def __enter__(self) -> Spans:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._trace is not None:
            self._trace.close()


class TimedExecutor(Executor):
    """An executor that times its runs as spans named "program", on the stream of the runs."""

    def __init__(self, span: Spans, device: torch.device, memory: int | None = None) -> None:
        super().__init__(device, memory)
        self._span = span

    def _run(self, run: Run) -> Outcome:
        with self._span("program"):
            return super()._run(run)


@dataclass
class _Pending:
    """A span that the device may not have finished yet."""

    event: dict[str, Any]
    first: torch.cuda.Event
    last: torch.cuda.Event


class _Trace:
    """Writes Chrome trace events, one line of JSON each.

    Times are microseconds of the monotonic clock, which all processes of a machine share, including Node's
    `process.hrtime`.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.step = 0
        self._file: TextIO = path.open("w")
        self._pending: deque[_Pending] = deque()
        self._lanes: dict[int, int] = {}
        self._cuda = device.type == "cuda"
        self._name_lane(_HOST, "host")
        if self._cuda:
            torch.cuda.synchronize()
            self._zero = torch.cuda.Event(enable_timing=True)
            self._zero.record()
            self._zero.synchronize()
            self._zero_ns = time.monotonic_ns()

    def mark(self) -> torch.cuda.Event | None:
        """Marks the end of the current stream's work so far; None on the CPU, where calls are synchronous."""
        if not self._cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def add(
        self,
        name: str,
        began: int,
        ended: int,
        first: torch.cuda.Event | None,
        last: torch.cuda.Event | None,
    ) -> None:
        whole = {"name": name, "ph": "X", "pid": os.getpid(), "args": {"step": self.step}}
        self._write({**whole, "tid": _HOST, "ts": began / 1e3, "dur": (ended - began) / 1e3})
        if first is not None and last is not None:
            self._pending.append(_Pending({**whole, "tid": self._lane()}, first, last))
        while self._pending and self._pending[0].last.query():
            self._write_device(self._pending.popleft())

    def close(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()
        while self._pending:
            self._write_device(self._pending.popleft())
        self._file.close()

    def _write_device(self, span: _Pending) -> None:
        began, ended = (self._zero.elapsed_time(event) * 1e3 for event in (span.first, span.last))
        self._write({**span.event, "ts": self._zero_ns / 1e3 + began, "dur": ended - began})

    def _lane(self) -> int:
        """The lane of the current stream, which is named at its first use."""
        key = torch.cuda.current_stream().cuda_stream
        if key not in self._lanes:
            self._lanes[key] = _HOST + 1 + len(self._lanes)
            self._name_lane(self._lanes[key], f"device, stream {len(self._lanes)}")
        return self._lanes[key]

    def _name_lane(self, lane: int, name: str) -> None:
        self._write(
            {"name": "thread_name", "ph": "M", "pid": os.getpid(), "tid": lane, "args": {"name": name}}
        )

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event, separators=(",", ":")) + "\n")
