"""The plain loop over a program's instructions. On a CPU it gives the same bits every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixhead.executor.program import Program, Spec
from mixhead.executor.run import ExecutorError


@dataclass(frozen=True)
class Step:
    """An instruction, ready to be called."""

    at: int
    name: str
    call: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    specs: tuple[Spec, ...]
    last: tuple[int, ...]  # slots that are not used afterwards


class Replay:
    """A program's loop. It drops slots after their last use, so that their memory is reused."""

    def __init__(self, program: Program, device: torch.device) -> None:
        self.program = program
        self._steps = _steps(program, device)
        self._checked = False  # whether a whole run matched the declarations

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Computes the outputs from the tensors of inputs and literals.

        Raises ExecutorError with the instruction that failed, or whose output differs from its declaration.
        """
        slots = dict(enumerate(tensors))
        del tensors
        for step in self._steps:
            try:
                made = step.call(*[slots[slot] for slot in step.inputs])
            except Exception as error:
                raise failure(error, step) from error
            if not self._checked:
                _check(made, step)
            if isinstance(made, Tensor):
                slots[step.outputs[0]] = made
            else:
                for slot, tensor in zip(step.outputs, made, strict=True):
                    slots[slot] = tensor
            del made
            for slot in step.last:
                del slots[slot]
        self._checked = True
        return [slots[slot] for slot in self.program.outputs]


def _steps(program: Program, device: torch.device) -> list[Step]:
    last_use = {slot: index for index, each in enumerate(program.code) for slot in each.inputs}
    kept = set(program.outputs)
    steps = []
    for index, each in enumerate(program.code):
        outputs = tuple(range(each.first, each.first + len(each.outputs)))
        done = [slot for slot in dict.fromkeys(each.inputs) if last_use[slot] == index]
        unused = [slot for slot in outputs if slot not in last_use]
        last = tuple(slot for slot in (*done, *unused) if slot not in kept)
        steps.append(
            Step(each.at, each.kernel.name, each.bound(device), each.inputs, outputs, each.outputs, last)
        )
    return steps


def _check(made: Tensor | tuple[Tensor, ...], step: Step) -> None:
    got = tuple(map(Spec.of, [made] if isinstance(made, Tensor) else made))
    if got != step.specs:
        declared, came = (", ".join(map(str, specs)) or "nothing" for specs in (step.specs, got))
        raise ExecutorError("shape", f"{step.name} was declared to give {declared}; it gave {came}", step.at)


def failure(error: Exception, step: Step | None = None) -> ExecutorError:
    """Turns an exception of a kernel into an ExecutorError with one sentence."""
    if isinstance(error, ExecutorError):
        return error
    at, name = (-1, "the run") if step is None else (step.at, step.name)
    sentence = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if is_out_of_memory(error):
        return ExecutorError("memory", f"{name} found no memory: {sentence}", at)
    return ExecutorError("failed", f"{name} failed: {sentence}", at)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. The CPU's allocator and cuBLAS raise a plain RuntimeError."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    signs = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
