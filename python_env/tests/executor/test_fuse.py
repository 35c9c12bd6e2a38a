"""Two instructions as one give the same, and nothing that has another use is lost."""

import numpy as np
import pytest
import torch

from mixhead.executor import Executor, ExecutorError
from mixhead.executor.fuse import fuse
from mixhead.executor.program import read_program
from tests.executor.programs import definition, run_of, spec

R, D = 5, 7
LAST = {"axis": [1], "keepDims": False}


def names(text: bytes) -> list[str]:
    return [each.kernel.name for each in fuse(read_program(text)).code]


def two(second: list, outputs: tuple[int, ...] = (4,), first: str = "Multiply", **more: list) -> bytes:
    """Inputs x, a (R, D) and w (R, 1): slot 3 is a product, slot 4 comes of it."""
    inputs = more.get("inputs", [spec(R, D), spec(R, D), spec(R, 1)])
    product = [first, [1] if first == "Square" else more.get("factors", [1, 2]), {}, [spec(R, D)]]
    return definition(inputs=inputs, code=[product, second], outputs=outputs)


FUSED = {
    "AddMul": two(["Add", [0, 3], {}, [spec(R, D)]]),
    "AddMul, the product first": two(["Add", [3, 0], {}, [spec(R, D)]]),
    "SubMul": two(["Sub", [0, 3], {}, [spec(R, D)]]),
    "SumMul": two(["Sum", [3], LAST, [spec(R)]], factors=[0, 1]),
    "SumMul, dimensions kept": two(
        ["Sum", [3], {"axis": [1], "keepDims": True}, [spec(R, 1)]], factors=[0, 1]
    ),
    "SumOfSquares": two(["Sum", [3], LAST, [spec(R)]], first="Square"),
    "SumOfSquares, of a product": two(["Sum", [3], LAST, [spec(R)]], factors=[1, 1]),
}


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_instruction_gives_the_result_of_the_two(name: str) -> None:
    text = FUSED[name]
    assert names(text) == [name.split(",")[0]]
    executor = Executor()
    tensors = [torch.randn(R, D), torch.randn(R, D), torch.randn(R, 1)]
    for handle, tensor in enumerate(tensors):
        executor.bind(handle, tensor)
    got = executor.run(run_of(text, inputs=(0, 1, 2), base=3, reads=(3,))).values[0]
    exact = [tensor.double() for tensor in tensors]
    for each in read_program(text).code:
        made = [exact[slot] for slot in each.inputs]
        exact.append(each.kernel.function(*made, **each.attributes))
    assert np.allclose(got, exact[-1].numpy(), rtol=1e-5, atol=1e-5)


INTEGERS = [spec(R, D, dtype="int32")] * 3


@pytest.mark.parametrize(
    "text",
    [
        two(["Add", [0, 3], {}, [spec(R, D)]], outputs=(3, 4)),  # the product is an output
        two(["Add", [3, 3], {}, [spec(R, D)]]),  # and used twice
        two(["Sub", [3, 0], {}, [spec(R, D)]]),
        two(["Add", [0, 3], {}, [spec(R, D)]], first="Square"),
        two(["Sum", [3], {"axis": [0], "keepDims": False}, [spec(D)]]),
        two(["Sum", [3], {"axis": [0, 1], "keepDims": False}, [spec()]]),
        two(["Sum", [3], LAST, [spec(R)]]),  # one factor is broadcast
        two(["Multiply", [0, 3], {}, [spec(R, D)]]),
        two(["Add", [0, 3], {}, [spec(R, D, dtype="int32")]], inputs=INTEGERS),
    ],
)
def test_a_program_that_cannot_be_fused_is_unchanged(text: bytes) -> None:
    assert len(names(text)) == 2


def test_fusing_holds_hardly_more_memory_than_the_product_did() -> None:
    def text(factors: list[int]) -> bytes:
        """Two tensors are made and multiplied; another instruction stands before the sum."""
        return definition(
            inputs=[spec(R, D)],
            code=[
                ["Square", [0], {}, [spec(R, D)]],
                ["Square", [0], {}, [spec(R, D)]],
                ["Multiply", factors, {}, [spec(R, D)]],
                ["Neg", [0], {}, [spec(R, D)]],
                ["Add", [4, 3], {}, [spec(R, D)]],
            ],
            outputs=[5],
        )

    assert "AddMul" in names(text([0, 1]))
    assert "AddMul" not in names(text([1, 2]))


def test_a_wrongly_declared_product_is_found_although_its_result_is_unused() -> None:
    product = ["Multiply", [1, 2], {}, [spec(R, D + 1)]]
    text = definition(
        inputs=[spec(R, D), spec(R, D), spec(R, 1)],
        code=[product, ["Add", [0, 3], {}, [spec(R, D)]]],
        outputs=[4],
    )
    executor = Executor()
    for handle, shape in enumerate([(R, D), (R, D), (R, 1)]):
        executor.bind(handle, torch.ones(shape))
    with pytest.raises(ExecutorError, match="Multiply was declared") as caught:
        executor.run(run_of(text, inputs=(0, 1, 2), base=3))
    assert caught.value.at == 0


def test_a_definition_cannot_name_a_kernel_that_only_fusing_creates() -> None:
    code = [["AddMul", [0, 0, 0], {}, [spec(R, D)]]]
    with pytest.raises(ExecutorError, match='no kernel "AddMul"'):
        read_program(definition(inputs=[spec(R, D)], code=code))


def test_the_transpose_of_a_product_is_row_major() -> None:
    """(h^T r)^T, as an M-step asks for it, is r^T h: no view whose columns lie in order."""
    turn, flags = {"perm": [1, 0]}, {"transposeA": False, "transposeB": False}
    text = definition(
        inputs=[spec(4, D), spec(4, R)],
        code=[
            ["Transpose", [0], turn, [spec(D, 4)]],
            ["BatchMatMul", [2, 1], flags, [spec(D, R)]],
            ["Transpose", [3], turn, [spec(R, D)]],
        ],
        outputs=(4,),
    )
    assert names(text) == ["Transpose", "BatchMatMul"]
    executor, h, r = Executor(), torch.randn(4, D), torch.randn(4, R)
    executor.bind(0, h)
    executor.bind(1, r)
    got = executor.run(run_of(text, inputs=(0, 1), base=2, reads=(2,))).values[0]
    assert np.allclose(got, (r.double().T @ h.double()).numpy(), atol=1e-6)


def test_long_rows_are_summed_row_by_row() -> None:
    long = 4096
    text = definition(
        inputs=[spec(3, long), spec(3, long)],
        code=[["Multiply", [0, 1], {}, [spec(3, long)]], ["Sum", [2], LAST, [spec(3)]]],
        outputs=(3,),
    )
    executor, a, b = Executor(), torch.randn(3, long), torch.randn(3, long)
    executor.bind(0, a)
    executor.bind(1, b)
    got = executor.run(run_of(text, inputs=(0, 1), base=2, reads=(2,))).values[0]
    assert np.allclose(got, (a.double() * b.double()).sum(1).numpy(), atol=1e-3)
