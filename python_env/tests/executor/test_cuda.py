"""The executor on a GPU: a stream of its own beside the script's, whose tensors neither side loses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mixhead.executor import Executor, ExecutorError, Run
from mixhead.executor.compiled import PLAIN_RUNS
from tests.executor.programs import definition, run_of, spec

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

N, K, D = 512, 8192, 256

#: New prototypes: the old ones and a little of the rows' mean; the similarities are the targets.
STEP = definition(
    inputs=[spec(N, D), spec(K, D)],
    literals=[spec()],
    code=[
        ["Sum", [0], {"axis": [0], "keepDims": True}, [spec(1, D)]],
        ["Multiply", [3, 2], {}, [spec(1, D)]],
        ["Add", [1, 4], {}, [spec(K, D)]],
        ["BatchMatMul", [0, 5], {"transposeA": False, "transposeB": True}, [spec(N, K)]],
        ["Sum", [6], {"axis": [1], "keepDims": False}, [spec(N)]],
    ],
    outputs=[5, 6, 7],
)


@pytest.fixture
def executor() -> Executor:
    executor = Executor("cuda")
    executor.run(Run(seq=1, uploads={1: np.zeros((K, D), np.float32)}, prototypes=1))
    return executor


def step(executor: Executor, index: int, rows: torch.Tensor) -> torch.Tensor:
    """The targets of a step whose rows are announced. Prototypes have the handle 1 + 10 * index."""
    executor.announce(rows)
    base, old = 10 * index + 11, max(1, 10 * index + 1)
    named = {"rows": base - 1, "prototypes": base, "targets": base + 1, "metrics": base + 2}
    run = run_of(STEP, seq=index + 2, literals=[1 / N], inputs=(base - 1, old), base=base, **named)
    run = replace(run, free=(base - 1, old, base + 1, base + 2))
    outcome = executor.run(run if index == 0 else replace(run, definition=None))
    executor.ready(outcome.targets)
    return outcome.targets


def test_runs_and_the_script_on_separate_streams_see_each_others_results(executor: Executor) -> None:
    """Rows are made, overwritten and freed at once, and what runs gave is used while later ones free it."""
    expected = torch.zeros(D, dtype=torch.float64, device="cuda")
    for index in range(50):
        rows = torch.randn(N, D, device="cuda")
        mean = rows.double().mean(0)
        targets = step(executor, index, rows)
        exact = rows.double() @ (expected + mean)
        rows.fill_(float("nan"))
        del rows
        torch.empty(N, D, device="cuda").fill_(float("nan"))
        expected += mean
        prototypes = executor.prototypes
        assert torch.allclose(prototypes.double(), expected.expand(K, D), atol=1e-5)
        assert torch.allclose(targets.double(), exact[:, None].expand(N, K), atol=1e-4)
    assert executor.handles == {501}


def test_a_backward_pass_may_use_prototypes_that_the_executor_has_freed(executor: Executor) -> None:
    weight = torch.randn(N, D, device="cuda", requires_grad=True)
    step(executor, 0, torch.ones(N, D, device="cuda"))
    prototypes = executor.prototypes
    loss = (weight @ prototypes.T).sum()
    del prototypes
    for index in range(1, 5):
        step(executor, index, torch.randn(N, D, device="cuda"))
    loss.backward()
    assert torch.allclose(weight.grad, torch.full_like(weight, K))


def test_products_are_in_full_precision_whatever_the_script_allows() -> None:
    text = definition(
        inputs=[spec(N, D), spec(K, D)],
        code=[["BatchMatMul", [0, 1], {"transposeA": False, "transposeB": True}, [spec(N, K)]]],
        outputs=[2],
    )
    executor = Executor("cuda")
    a, b = torch.randn(N, D, device="cuda"), torch.randn(K, D, device="cuda")
    executor.bind(0, a)
    executor.bind(1, b)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        executor.run(run_of(text, inputs=(0, 1), base=2))
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    executor.ready()
    error = (executor.tensor(2).double() - a.double() @ b.double().T).abs().max()
    assert error < 1e-4


def test_metrics_are_copied_to_the_host_without_a_read(executor: Executor) -> None:
    executor.run(Run(seq=2, uploads={2: np.arange(5, dtype=np.float32)}))
    outcome = executor.run(Run(seq=3, metrics=2, free=(2,)))
    assert outcome.metrics.wait().tolist() == [0, 1, 2, 3, 4]


def test_a_gpu_that_is_full_ends_in_a_sentence_and_changes_nothing(executor: Executor) -> None:
    size = 1 << 18
    text = definition(
        inputs=[spec(size, 1), spec(1, size)],
        code=[
            ["Add", [0, 1], {}, [spec(size, size)]],
            ["Sum", [2], {"axis": [0, 1], "keepDims": False}, [spec()]],
        ],
        outputs=[3],
    )
    executor.bind(2, torch.ones(size, 1))
    executor.bind(3, torch.ones(1, size))
    with pytest.raises(ExecutorError, match="Add found no memory") as caught:
        executor.run(run_of(text, inputs=(2, 3), base=10))
    assert (caught.value.code, caught.value.at) == ("memory", 0)
    assert executor.handles == {1, 2, 3}


def test_a_compiled_program_gives_what_the_plain_loop_gives() -> None:
    plain, compiled = Executor("cuda", compiles=False), Executor("cuda", compiles=True)
    for executor in (plain, compiled):
        executor.run(Run(seq=1, uploads={1: np.zeros((K, D), np.float32)}, prototypes=1))
    for index in range(PLAIN_RUNS + 3):
        rows = torch.randn(N, D, device="cuda")
        one, two = step(plain, index, rows), step(compiled, index, rows)
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-4)
        assert torch.allclose(plain.prototypes, compiled.prototypes, rtol=1e-5, atol=1e-5)
    (loaded,) = compiled._programs.values()
    assert loaded.loop._compiled is not None, "nothing was compiled"
