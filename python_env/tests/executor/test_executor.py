"""The executor: tensors by handle, programs by hash, and what a failed run leaves as it was."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from mixhead.executor import Executor, ExecutorError, Run
from tests.executor.programs import definition, run_of, spec

#: y = x * 2 + x, and y as a column
PROGRAM = definition(
    inputs=[spec(2)],
    literals=[spec()],
    code=[
        ["Multiply", [0, 1], {}, [spec(2)]],
        ["Add", [2, 0], {}, [spec(2)]],
        ["Reshape", [3], {"shape": [2, 1]}, [spec(2, 1)]],
    ],
    outputs=[3, 4],
)


@pytest.fixture
def executor() -> Executor:
    """One that holds the tensor 7."""
    executor = Executor("cpu")
    executor.bind(7, torch.tensor([1.0, 2.0]))
    return executor


def test_a_program_runs_from_handles_to_handles_and_again_by_its_hash_alone(executor: Executor) -> None:
    run = run_of(PROGRAM, literals=[2], inputs=(7,), base=10, reads=(10, 11))
    values = executor.run(run).values
    assert [value.tolist() for value in values] == [[3, 6], [[3], [6]]]
    assert executor.handles == {7, 10, 11}
    again = replace(
        run, seq=2, definition=None, inputs=(10,), base=12, literals=np.array([-1.0]), reads=(12,)
    )
    assert executor.run(again).values[0].tolist() == [0, 0]


def test_uploads_come_first_and_frees_last(executor: Executor) -> None:
    uploads = {20: np.array([3, 4], np.float32)}
    run = run_of(PROGRAM, literals=[2], inputs=(20,), base=21, reads=(20, 21), free=(20, 7), uploads=uploads)
    assert [value.tolist() for value in executor.run(run).values] == [[3, 4], [9, 12]]
    assert executor.handles == {21, 22}


def test_a_run_without_a_program_uploads_reads_and_frees(executor: Executor) -> None:
    flags = {3: np.array([True, False]), 4: np.array([[1, -2]], np.int32)}
    got = executor.run(Run(seq=1, uploads=flags, reads=(3, 4, 7), free=(4,))).values
    assert [value.tolist() for value in got] == [[True, False], [[1, -2]], [1, 2]]
    assert executor.handles == {3, 7}


def test_literals_of_every_dtype_arrive_exactly(executor: Executor) -> None:
    text = definition(
        literals=[spec(dtype="int32"), spec(3), spec(2, dtype="bool"), spec(0)],
        code=[["Identity", [slot], {}, [each]] for slot, each in enumerate([spec(dtype="int32"), spec(3)])],
        outputs=[4, 5, 2, 3],
    )
    values = [2147483647, -0.0, float("nan"), 0.1, 0, 1]
    outcome = executor.run(run_of(text, literals=values, base=0, reads=(0, 1, 2, 3)))
    whole, floats, flags, empty = outcome.values
    assert whole == 2147483647
    assert np.signbit(floats[0]) and np.isnan(floats[1]) and floats[2] == np.float32(0.1)
    assert flags.tolist() == [False, True]
    assert empty.shape == (0,)


def test_the_rows_that_were_announced_are_named_by_the_run(executor: Executor) -> None:
    rows = torch.ones(2, dtype=torch.float64)
    executor.announce(rows)
    rows.zero_()
    run = run_of(PROGRAM, literals=[2], inputs=(30,), base=31, rows=30, reads=(31,), free=(30,))
    assert executor.run(run).values[0].tolist() == [3, 3]
    with pytest.raises(ExecutorError, match="has announced none"):
        executor.run(replace(run, base=40))


def test_prototypes_stay_until_a_run_names_others_and_targets_do_not(executor: Executor) -> None:
    executor.bind(1, torch.ones(3, 2))
    outcome = executor.run(Run(seq=1, prototypes=1, targets=1, metrics=7, free=(1, 7)))
    assert executor.prototypes is outcome.prototypes is outcome.targets
    assert outcome.metrics.wait().tolist() == [1, 2]
    later = executor.run(Run(seq=2))
    assert (later.prototypes, later.targets, later.metrics) == (None, None, None)
    assert executor.prototypes.shape == (3, 2)


def test_outputs_own_their_memory_so_that_freeing_a_large_one_frees_it(executor: Executor) -> None:
    text = definition(
        inputs=[spec(2)],
        literals=[spec(64), spec(64)],
        code=[["Reshape", [1], {"shape": [8, 8]}, [spec(8, 8)]]],
        outputs=[3, 2],
    )
    executor.run(run_of(text, literals=[0] * 128, inputs=(7,), base=8))
    for handle in (8, 9):
        tensor = executor.tensor(handle)
        assert tensor.untyped_storage().nbytes() == tensor.nbytes == 256


def test_a_run_can_make_the_executor_forget_definitions_but_not_handles(executor: Executor) -> None:
    run = run_of(PROGRAM, literals=[2], inputs=(7,), base=10)
    executor.run(run)
    executor.run(Run(seq=2, forget=True))
    with pytest.raises(ExecutorError, match="no definition of program") as caught:
        executor.run(replace(run, definition=None, base=20))
    assert caught.value.code == "program"
    assert executor.handles == {7, 10, 11}
    executor.run(replace(run, base=20))


def test_the_scripts_own_modes_neither_reach_the_kernels_nor_are_changed(executor: Executor) -> None:
    run = run_of(PROGRAM, literals=[2], inputs=(7,), base=10)
    torch.set_float32_matmul_precision("medium")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            executor.run(run)
            assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.set_default_dtype(torch.float32)
    assert not executor.tensor(10).is_inference()
    (executor.tensor(10) * torch.ones(2, requires_grad=True)).sum().backward()


BIG = definition(literals=[spec(64)], code=[["Add", [0, 0], {}, [spec(64)]]], outputs=[1])


@pytest.mark.parametrize(
    ("run", "code", "why"),
    [
        (run_of(PROGRAM, literals=[2], inputs=(8,)), "handle", "no tensor 8"),
        (run_of(PROGRAM, literals=[2], inputs=()), "program", "has 1 inputs, not 0"),
        (run_of(PROGRAM, literals=[], inputs=(7,)), "program", "has 1 literals, not 0"),
        (run_of(PROGRAM, literals=[2], inputs=(7,), base=6), "handle", "is a tensor 7 already"),
        (run_of(PROGRAM, literals=[2], inputs=(7,), base=8, free=(7, 99)), "handle", "no tensor 99 to free"),
        (run_of(PROGRAM, literals=[2], inputs=(7,), base=8, free=(7, 7)), "handle", "no tensor 7 to free"),
        (run_of(PROGRAM, literals=[2], inputs=(7,), base=8, reads=(70,)), "handle", "no tensor 70"),
        (
            run_of(PROGRAM, literals=[2], inputs=(7,), base=8, metrics=9),
            "shape",
            r"metrics are float32 \[2, 1",
        ),
        (
            run_of(PROGRAM, literals=[2], inputs=(7,), base=8, targets=7),
            "shape",
            r"targets are float32 \[2\]",
        ),
        (run_of(PROGRAM, literals=[2], inputs=(7,), base=8, rows=70), "handle", "announced none"),
        (replace(run_of(PROGRAM), program="0" * 16), "program", "another hash"),
        (replace(run_of(PROGRAM), definition=None), "program", "no definition of program"),
        (Run(seq=1, uploads={1: np.ones(1)}), "program", "upload is float64"),
        (run_of(BIG, literals=[0] * 64, base=8), "memory", r"would take 0\.0 MB; 0\.0 MB are allowed"),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_a_sentence_and_changes_nothing(
    executor: Executor, run: Run, code: str, why: str
) -> None:
    executor.memory = 100
    with pytest.raises(ExecutorError, match=why) as caught:
        executor.run(run)
    assert caught.value.code == code
    assert executor.handles == {7}
    assert executor.tensor(7).tolist() == [1, 2]


def test_an_input_of_another_shape_than_the_program_declares_is_refused(executor: Executor) -> None:
    executor.bind(1, torch.ones(3))
    with pytest.raises(ExecutorError, match=r"input 0 is float32 \[3\]; the program declares float32 \[2\]"):
        executor.run(run_of(PROGRAM, literals=[2], inputs=(1,), base=10))


@pytest.mark.parametrize("declared", [spec(3), spec(2, dtype="int32"), spec(2, 1)])
def test_a_wrongly_declared_shape_or_dtype_is_named_with_its_instruction(
    executor: Executor, declared: list
) -> None:
    text = definition(
        inputs=[spec(2)],
        code=[["Add", [0, 0], {}, [spec(2)]], ["Multiply", [1, 1], {}, [declared]]],
        outputs=[2],
    )
    for _ in range(2):
        with pytest.raises(ExecutorError, match=r"Multiply was declared .*; it gave float32 \[2\]") as caught:
            executor.run(run_of(text, inputs=(7,), base=10))
        assert (caught.value.code, caught.value.at) == ("shape", 1)
    assert executor.handles == {7}


def test_an_exception_of_a_kernel_becomes_one_sentence_with_its_instruction(executor: Executor) -> None:
    text = definition(inputs=[spec(2)], code=[["Reshape", [0], {"shape": [3]}, [spec(3)]]], outputs=[1])
    with pytest.raises(ExecutorError, match="Reshape failed: shape") as caught:
        executor.run(run_of(text, inputs=(7,), base=10))
    assert (caught.value.code, caught.value.at) == ("failed", 0)
    assert "\n" not in caught.value.message


def test_memory_that_the_machine_does_not_have_ends_in_a_sentence(executor: Executor) -> None:
    column, row = torch.ones(1 << 22, 1), torch.ones(1, 1 << 22)
    executor.bind(1, column)
    executor.bind(2, row)
    shape = spec(1 << 22, 1 << 22)
    text = definition(
        inputs=[spec(1 << 22, 1), spec(1, 1 << 22)],
        code=[["Add", [0, 1], {}, [shape]], ["Reshape", [2], {"shape": [1 << 44]}, [spec(1 << 44)]]],
        outputs=[],
    )
    with pytest.raises(ExecutorError, match="no device holds"):
        executor.run(run_of(text, inputs=(1, 2), base=10))
    half = text.replace(str(1 << 22).encode(), str(1 << 21).encode()).replace(
        str(1 << 44).encode(), str(1 << 42).encode()
    )
    executor.bind(3, column[: 1 << 21])
    executor.bind(4, row[:, : 1 << 21])
    with pytest.raises(ExecutorError, match="Add found no memory") as caught:
        executor.run(run_of(half, inputs=(3, 4), base=10))
    assert (caught.value.code, caught.value.at) == ("memory", 0)
    assert executor.handles == {1, 2, 3, 4, 7}


def test_a_program_is_named_by_the_hash_of_its_text() -> None:
    assert run_of(PROGRAM).program == hashlib.sha256(PROGRAM).hexdigest()[:16]
