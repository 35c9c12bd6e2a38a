"""Programs for the tests."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mixhead.executor import KERNELS_VERSION, Run
from mixhead.executor.program import hash_of


def spec(*shape: int, dtype: str = "float32") -> list[Any]:
    return [dtype, list(shape)]


def definition(
    inputs: Sequence[Any] = (),
    literals: Sequence[Any] = (),
    code: Sequence[Any] = (),
    outputs: Iterable[int] = (),
    **other: Any,
) -> bytes:
    """The text of a program; `other` replaces fields or adds some."""
    fields = {
        "version": KERNELS_VERSION,
        "inputs": inputs if isinstance(inputs, str) else list(inputs),
        "literals": list(literals),
        "code": list(code),
        "outputs": list(outputs),
    }
    return json.dumps({**fields, **other}, separators=(",", ":")).encode()


def run_of(text: bytes, seq: int = 1, literals: Sequence[float] = (), **more: Any) -> Run:
    """The first run of a program, with its definition."""
    values = np.array(literals, np.float64)
    return Run(seq=seq, program=hash_of(text), definition=text, literals=values, **more)
