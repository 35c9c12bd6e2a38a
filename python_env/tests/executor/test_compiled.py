"""Programs through torch.compile, on the CPU by a flag: the same numbers, and plain where it fails."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mixhead.executor import Executor, ExecutorError, Run
from mixhead.executor.compiled import LARGE, PLAIN_RUNS, worthwhile
from mixhead.executor.program import read_program
from tests.executor.programs import definition, run_of, spec

R, D = 33, 17

#: An E-step and an M-step in small: similarities, softmax by hand, new rows, and some other literal dtypes.
STEP = definition(
    inputs=[spec(R, D), spec(D, D)],
    literals=[spec(), spec(2, dtype="int32"), spec(dtype="bool")],
    code=[
        ["BatchMatMul", [0, 1], {"transposeA": False, "transposeB": True}, [spec(R, D)]],
        ["Multiply", [5, 2], {}, [spec(R, D)]],
        ["Exp", [6], {}, [spec(R, D)]],
        ["Sum", [7], {"axis": [1], "keepDims": True}, [spec(R, 1)]],
        ["RealDiv", [7, 8], {}, [spec(R, D)]],
        ["Multiply", [9, 0], {}, [spec(R, D)]],
        ["Add", [0, 10], {}, [spec(R, D)]],
        ["Transpose", [11], {"perm": [1, 0]}, [spec(D, R)]],
        ["Add", [3, 3], {}, [spec(2, dtype="int32")]],
    ],
    outputs=[9, 11, 12, 13, 4, 0],
)

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


def runs(executor: Executor, count: int) -> list[list[np.ndarray]]:
    """The values of so many runs of the step, whose literal differs."""
    torch.manual_seed(0)
    executor.bind(0, torch.randn(R, D))
    executor.bind(1, torch.randn(D, D))
    made = []
    for index in range(count):
        run = run_of(STEP, literals=[0.1 * index, 7, -8, 1], inputs=(0, 1), base=10 * (index + 1))
        handles = tuple(range(run.base, run.base + 6))
        again = run if index == 0 else replace(run, definition=None)
        made.append(executor.run(replace(again, reads=handles, free=handles)).values)
    return made


@needs_compiler
def test_a_compiled_program_gives_what_the_plain_loop_gives() -> None:
    compiled = Executor(compiles=True)
    plain, other = runs(Executor(compiles=False), PLAIN_RUNS + 3), runs(compiled, PLAIN_RUNS + 3)
    (loaded,) = compiled._programs.values()
    assert loaded.loop._compiled is not None
    for index, (expected, got) in enumerate(zip(plain, other, strict=True)):
        for one, two in zip(expected, got, strict=True):
            assert (one.dtype, one.shape) == (two.dtype, two.shape)
            assert np.allclose(one, two, rtol=1e-5, atol=1e-5)
            assert index >= PLAIN_RUNS or np.array_equal(one, two)


@needs_compiler
def test_outputs_of_a_compiled_program_own_their_memory() -> None:
    executor = Executor(compiles=True)
    runs(executor, PLAIN_RUNS + 1)
    program = next(iter(executor._programs))
    literals = np.array([0.5, 1, 2, 0])
    executor.run(Run(seq=9, program=program, inputs=(0, 1), base=100, literals=literals))
    for handle in range(100, 106):
        tensor = executor.tensor(handle)
        assert tensor.is_contiguous()
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_a_program_that_cannot_be_compiled_stays_plain_with_one_warning() -> None:
    """A choice by a value, which the CPU may make, is none that a tracer can follow."""
    text = definition(
        inputs=[spec(dtype="bool"), spec(), spec()],
        code=[["Select", [0, 1, 2], {}, [spec()]]],
        outputs=[3],
    )
    executor = Executor(compiles=True)
    for handle, value in enumerate([torch.tensor(True), torch.tensor(1.0), torch.tensor(2.0)]):
        executor.bind(handle, value)
    run = run_of(text, inputs=(0, 1, 2), base=3, reads=(3,), free=(3,))
    for _ in range(PLAIN_RUNS):
        assert executor.run(run).values[0] == 1
        run = replace(run, definition=None)
    with pytest.warns(UserWarning, match="a program on cpu is not compiled: ") as warned:
        for _ in range(3):
            assert executor.run(run).values[0] == 1
    assert len(warned) == 1


def test_the_cpu_gives_the_same_bits_however_often_a_program_has_run() -> None:
    executor = Executor()
    torch.manual_seed(0)
    executor.bind(0, torch.randn(R, D))
    executor.bind(1, torch.randn(D, D))
    run = run_of(STEP, literals=[0.3, 1, 2, 0], inputs=(0, 1), base=10, reads=(10, 11), free=range(10, 16))
    first = executor.run(run).values
    for _ in range(2 * PLAIN_RUNS):
        again = executor.run(replace(run, definition=None)).values
        assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))


def test_large_programs_are_compiled_on_a_gpu_alone_and_by_request_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large, small = (read_program(definition(inputs=[spec(size)])) for size in (LARGE, LARGE - 1))
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    assert [worthwhile(large, device, None) for device in (cpu, gpu)] == [False, True]
    assert not worthwhile(small, gpu, None)
    assert not worthwhile(large, gpu, False)
    assert worthwhile(small, cpu, True)
    monkeypatch.setenv("MIXHEAD_COMPILE", "0")
    assert not worthwhile(large, gpu, None)


@needs_compiler
def test_a_compiled_program_that_gets_another_number_of_literals_is_refused_as_ever() -> None:
    executor = Executor(compiles=True)
    runs(executor, PLAIN_RUNS + 1)
    program = next(iter(executor._programs))
    with pytest.raises(ExecutorError, match="has 4 literals, not 1"):
        executor.run(Run(seq=9, program=program, inputs=(0, 1), base=100, literals=np.array([1.0])))
