"""Requests of the plugin to an executor, and their failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

#: Why a run failed.
FailureCode = Literal["kernel", "program", "shape", "handle", "memory", "failed"]
#: No handle: the run names no tensor for this purpose.
NONE = -1


@dataclass(frozen=True)
class Run:
    """One run of a program over tensors that stay on the device, each named by its handle.

    It uploads, runs the program, reads, and then frees. If one of these fails, nothing has changed.
    """

    seq: int  # counts up from 1
    program: str = ""  # the first 16 hex digits of the definition's SHA-256; "": nothing to compute
    inputs: tuple[int, ...] = ()  # handles, in the order of the definition
    base: int = 0  # the outputs get the handles base, base + 1, ...
    free: tuple[int, ...] = ()  # handles to forget afterwards
    reads: tuple[int, ...] = ()  # handles whose values are sent back
    literals: np.ndarray = field(default_factory=lambda: np.empty(0))  # float64: their values, in order
    rows: int = NONE  # the handle of the rows that this rank announced
    metrics: int = NONE  # a float32 vector, whose values travel with the next embeddings
    prototypes: int = NONE  # (K, D) float32, from now on
    targets: int = NONE  # (N, K) float32, of this run
    forget: bool = False  # forget every definition before this one
    definition: bytes | None = None  # the program's JSON text, if it is new on this connection
    uploads: dict[int, np.ndarray] = field(default_factory=dict)  # by handle


class ExecutorError(Exception):
    """The reason why a run failed. It has changed nothing.

    code: "kernel" (not on the list), "program" (malformed, unknown hash, another version), "shape" (an
    output differs from its declaration), "handle", "memory" or "failed" (a kernel raised).
    at: the index of the instruction that failed; -1 if it is none of them.
    """

    def __init__(self, code: FailureCode, message: str, at: int = -1) -> None:
        super().__init__(message)
        self.code = code
        self.at = at
        self.message = message
