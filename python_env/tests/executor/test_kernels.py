"""What kernels give where torch by itself would give something else than tfjs defines."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mixhead.executor.kernels import KERNELS, elementwise, indexing, reductions

NAN, INF = math.nan, math.inf
LEAST, MOST = -(2**31), 2**31 - 1

Call = Callable[..., list[Tensor]]


@pytest.fixture(params=["cpu", "cpu, unseen", "cuda"])
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A kernel by its name. "unseen": on the CPU as on a GPU, whose values no host looks at."""
    device = request.param.split(",")[0]
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    if request.param.endswith("unseen"):
        for module in (elementwise, indexing, reductions):
            monkeypatch.setattr(module, "host_sees", lambda _: False)

    def run(name: str, *inputs: Tensor, **attributes: Any) -> list[Tensor]:
        kernel = KERNELS[name]
        extra = {"device": torch.device(device)} if kernel.wants_device else {}
        made = kernel.function(*(each.to(device) for each in inputs), **kernel.read(attributes), **extra)
        return [each.cpu() for each in ((made,) if isinstance(made, Tensor) else made)]

    return run


def floats(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def bools(*values: bool) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def rows(*values: list[float], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


ALL: dict[str, Any] = {"axis": [0], "keepDims": False}

CASES: list[tuple[str, str, list[Tensor], dict[str, Any], list[Tensor]]] = [
    ("a fraction is cut off", "Cast", [floats(1.9, -1.9)], {"dtype": "int32"}, [ints(1, -1)]),
    ("no number is 0", "Cast", [floats(NAN, INF, -INF)], {"dtype": "int32"}, [ints(0, 0, 0)]),
    ("wraps", "Cast", [floats(3e9, -3e9, 2**32)], {"dtype": "int32"}, [ints(-1294967296, 1294967296, 0)]),
    (
        "NaN is true",
        "Cast",
        [floats(0, NAN, -0.0, 0.5)],
        {"dtype": "bool"},
        [bools(False, True, False, True)],
    ),
    ("sums count", "Sum", [ints(1, 0, 1)], ALL, [ints(2)[0]]),
    ("sums wrap", "Sum", [ints(MOST, 1)], ALL, [ints(LEAST)[0]]),
    ("no axis, no sum of all", "Sum", [rows([1, 2])], {"axis": [1], "keepDims": True}, [rows([3])]),
    ("products wrap", "Multiply", [ints(65536, 3), ints(65536, 5)], {}, [ints(0, 15)]),
    ("down", "FloorDiv", [ints(7, -7, 7, -7, 1), ints(2, 2, -2, -2, 0)], {}, [ints(3, -4, -4, 3, 0)]),
    ("int32 of floats too", "FloorDiv", [floats(-7.5), floats(2)], {}, [ints(-4)]),
    (
        "the divisor's sign",
        "Mod",
        [ints(7, -7, 7, -7, 1), ints(3, 3, -3, -3, 0)],
        {},
        [ints(1, 2, -2, -1, 0)],
    ),
    ("by 0", "Mod", [floats(-7.5, 1), floats(2, 0)], {}, [floats(0.5, NAN)]),
    ("of ints", "Pow", [ints(2, 2, -1, 0), ints(10, -1, -3, -1)], {}, [ints(1024, 0, -1, 0)]),
    ("NaN stays", "Maximum", [floats(NAN, 1), floats(1, NAN)], {}, [floats(NAN, NAN)]),
    ("NaN stays", "Relu", [floats(NAN, -1, 2)], {}, [floats(NAN, 0, 2)]),
    ("NaN stays", "ClipByValue", [floats(NAN, 9, -9), floats(-1)[0], floats(1)[0]], {}, [floats(NAN, 1, -1)]),
    ("NaN is the extreme", "Max", [floats(1, NAN, 3)], ALL, [floats(NAN)[0]]),
    ("of nothing", "Max", [rows([], [])], {"axis": [1], "keepDims": False}, [floats(NAN, NAN)]),
    ("of nothing", "Mean", [rows([], [])], {"axis": [1], "keepDims": False}, [floats(0, 0)]),
    ("to even", "Round", [floats(0.5, 1.5, 2.5, -0.5, -1.5)], {}, [floats(0, 2, 2, 0, -2)]),
    ("no sign", "Sign", [floats(-0.0, NAN, -INF, 2)], {}, [floats(0, 0, -1, 1)]),
    ("undefined", "Log", [floats(-1, 0)], {}, [floats(NAN, -INF)]),
    ("undefined", "Sqrt", [floats(-1, 4)], {}, [floats(NAN, 2)]),
    ("NaN stays", "Step", [floats(NAN, 0, 2), floats(0.5)[0]], {}, [floats(NAN, 0.5, 1)]),
    ("int32 is cut off", "Step", [ints(-1, 2), floats(0.5)[0]], {}, [ints(0, 1)]),
    (
        "the first of equals, never NaN",
        "ArgMax",
        [rows([1, 3, 3], [2, NAN, 9], [NAN, 5, 9], [NAN, NAN, NAN])],
        {"axis": 1},
        [ints(1, 2, 0, 0)],
    ),
    (
        "the first of equals, never NaN",
        "ArgMin",
        [rows([2, 1, 1], [2, NAN, -9], [NAN, 5, -9])],
        {"axis": 1},
        [ints(1, 2, 0)],
    ),
    (
        "the first of equals",
        "TopK",
        [rows([1, 3, 3, 2, 3])],
        {"k": 4},
        [rows([3, 3, 3, 2]), rows([1, 2, 4, 3], dtype=torch.int32)],
    ),
    ("the first of equals", "TopK", [floats(0, 3, 3)], {"k": 1}, [floats(3), ints(1)]),
    (
        "what is outside is 0",
        "GatherV2",
        [rows([1, 2], [3, 4]), ints(1, 2, -1, 0)],
        {"axis": 0, "batchDims": 0},
        [rows([3, 4], [0, 0], [0, 0], [1, 2])],
    ),
    (
        "a batch goes with its own indices",
        "GatherV2",
        [rows([1, 2, 3], [4, 5, 6]), rows([2, 9], [0, 1], dtype=torch.int32)],
        {"axis": 1, "batchDims": 1},
        [rows([3, 0], [4, 5])],
    ),
    (
        "what is outside is 0",
        "GatherNd",
        [rows([1, 2], [3, 4]), rows([1, 1], [0, 2], dtype=torch.int32)],
        {},
        [floats(4, 0)],
    ),
    (
        "what is outside is left out",
        "ScatterNd",
        [rows([1], [9], [1], dtype=torch.int32), floats(1, 2, 4)],
        {"shape": [3]},
        [floats(0, 5, 0)],
    ),
    (
        "the last of several, and nothing outside",
        "TensorScatterUpdate",
        [floats(7, 7, 7), rows([1], [-1], [1], dtype=torch.int32), floats(1, 2, 4)],
        {},
        [floats(7, 4, 7)],
    ),
    (
        "what is outside is left out",
        "UnsortedSegmentSum",
        [rows([1, 2], [3, 4], [5, 6]), ints(1, -1, 1)],
        {"numSegments": 2},
        [rows([0, 0], [6, 8])],
    ),
    (
        "what is outside counts nowhere",
        "Bincount",
        [ints(1, 1, 9, -1)],
        {"size": 3, "binary": False, "dtype": "float32"},
        [floats(0, 2, 0)],
    ),
    (
        "what is outside is in no place",
        "OneHot",
        [ints(1, 5, -1), floats(2)[0], floats(-1)[0]],
        {"depth": 2},
        [rows([-1, 2], [-1, -1], [-1, -1])],
    ),
    (
        "NaN does not spread",
        "Cumsum",
        [floats(1, 2, NAN)],
        {"axis": 0, "exclusive": True, "reverse": False},
        [floats(0, 1, 3)],
    ),
    (
        "as 64 bits",
        "BatchMatMul",
        [rows([100000], dtype=torch.int32), rows([100001], dtype=torch.int32)],
        {"transposeA": False, "transposeB": False},
        [rows([1410165408], dtype=torch.int32)],
    ),
    (
        "backwards",
        "StridedSlice",
        [floats(0, 1, 2, 3, 4, 5, 6)],
        {"begin": [6], "size": [4], "strides": [-2]},
        [floats(6, 4, 2, 0)],
    ),
    (
        "in float64",
        "Range",
        [],
        {"start": 0, "step": 0.1, "count": 3, "dtype": "float32"},
        [floats(0, 0.1, 0.2)],
    ),
]


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "expected"),
    [case[1:] for case in CASES],
    ids=[f"{name}: {what}" for what, name, *_ in CASES],
)
def test_a_kernel_gives_what_tfjs_defines(
    call: Call, name: str, inputs: list[Tensor], attributes: dict[str, Any], expected: list[Tensor]
) -> None:
    made = call(name, *inputs, **attributes)
    assert [each.dtype for each in made] == [each.dtype for each in expected]
    for got, wanted in zip(made, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0, equal_nan=True)


def test_a_sum_into_few_places_is_the_same_each_time(call: Call) -> None:
    """Floats that are added in another order have another sum, and two ranks would come apart."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20000, 3, generator=generator)
    places = torch.randint(0, 5, (20000,), generator=generator, dtype=torch.int32)
    sums = [call("UnsortedSegmentSum", values, places, numSegments=5)[0] for _ in range(5)]
    assert all(torch.equal(each, sums[0]) for each in sums)


def test_a_choice_by_one_element_copies_nothing() -> None:
    """state = where(ok, new, old) is to cost nothing on the CPU."""
    new, old = torch.ones(4, 4), torch.zeros(4, 4)
    select = KERNELS["Select"].function
    assert select(bools(True)[0].expand(4, 4), new, old) is new
    assert select(bools(False)[0].expand(4, 4), new, old) is old
    assert torch.equal(select(torch.eye(4).bool(), new, old), torch.eye(4))
    wide, last = torch.ones(3, 32), torch.zeros(3, 32)
    column = torch.tensor([[True], [True], [True]])
    assert select(column.expand(3, 32), wide, last) is wide
    assert select((~column).expand(3, 32), wide, last) is last
    column[1] = False
    assert select(column.expand(3, 32), wide, last).sum(1).tolist() == [32, 0, 32]


def test_repeating_axes_of_one_element_is_a_view() -> None:
    x = torch.zeros(1, 3)
    assert KERNELS["Tile"].function(x, reps=[1000, 1]).data_ptr() == x.data_ptr()
    assert KERNELS["Tile"].function(x, reps=[2, 2]).shape == (2, 6)


def test_no_kernel_writes_to_its_inputs(call: Call) -> None:
    for _, name, inputs, attributes, _ in CASES:
        before = [each.clone() for each in inputs]
        call(name, *inputs, **attributes)
        for tensor, kept in zip(inputs, before, strict=True):
            torch.testing.assert_close(tensor, kept, equal_nan=True)
