"""Compiles a program's loop with torch.compile if that is faster: on a GPU, for large tensors.

The plain loop reads and writes memory once per instruction; a compiled one fuses many of them into one pass.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from mixhead.executor.literals import Literals
from mixhead.executor.program import Program
from mixhead.executor.replay import Replay
from mixhead.warn import warn

#: Runs before a program is compiled. A program that runs only a few times is not worth the seconds.
PLAIN_RUNS = 3
#: Least number of elements of the largest tensor. Below it, launches cost more than passes over memory.
LARGE = 1 << 21

_Loop = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]


class Loop:
    """Runs a program, plainly at first and compiled later, if that is `worthwhile`.

    If it cannot be compiled, it stays plain, and a warning gives the reason.
    """

    def __init__(
        self, program: Program, literals: Literals, device: torch.device, compiles: bool | None
    ) -> None:
        self._program, self._literals, self._device = program, literals, device
        self._plain = Replay(program, device)
        self._compiled: _Loop | None = None
        self._left = PLAIN_RUNS if worthwhile(program, device, compiles) else None

    def __call__(self, inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Computes the outputs from the inputs and the literals' vectors. Raises ExecutorError."""
        if self._compiled is not None:
            return self._compiled(inputs, vectors)
        if self._left == 0:
            self._left = None
            outputs = self._compile(inputs, vectors)
            if outputs is not None:
                return outputs
        outputs = self._plain([*inputs, *self._literals.split(vectors)])
        if self._left is not None:
            self._left -= 1
        return outputs

    def _compile(self, inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """Compiles the program and returns its outputs; None if it cannot be compiled."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice to compute in less than full precision
                straight = lambda *tensors: self._straight(*tensors)  # noqa: E731  make_fx would count self
                graph = make_fx(straight, tracing_mode="fake")(list(inputs), list(vectors))
                compiled = torch.compile(graph, fullgraph=True, dynamic=False)
                outputs: Sequence[Tensor] = compiled(list(inputs), list(vectors))
        except Exception as error:
            sentence = (str(error).strip().splitlines() or [type(error).__name__])[0]
            warn(f"a program on {self._device} is not compiled: {sentence:.200}")
            return None
        self._compiled = compiled
        return outputs

    def _straight(self, inputs: list[Tensor], vectors: list[Tensor]) -> list[Tensor]:
        """The loop for the tracer: kernels only, without checks and without freeing slots."""
        program = self._program
        slots = dict(enumerate([*inputs, *self._literals.split(vectors)]))
        for each in program.code:
            made = each.bound(self._device)(*[slots[slot] for slot in each.inputs])
            slots |= enumerate([made] if isinstance(made, Tensor) else made, start=each.first)
        return [slots[slot] for slot in program.outputs]


def worthwhile(program: Program, device: torch.device, compiles: bool | None) -> bool:
    """Whether to compile a program.

    `compiles`: whether to compile any program; None: compile large ones on a GPU, unless the environment has
    MIXHEAD_COMPILE=0. Programs on a CPU stay plain, so that they give the same bits in every run."""
    if compiles is not None:
        return compiles
    if device.type != "cuda" or os.environ.get("MIXHEAD_COMPILE") == "0":
        return False
    return max((spec.size for spec in program.specs), default=0) >= LARGE
