"""What a kernel may be called with follows from its signature."""

import math

import pytest
import torch
from torch import Tensor

from mixhead.executor.kernels import KERNELS, Kernel


def clip(x: Tensor, *rest: Tensor, low: float, axis: list[int] | None = None, device: torch.device) -> Tensor:
    return x


def test_a_kernel_gets_tensors_by_position_and_attributes_as_annotated() -> None:
    kernel = Kernel.of("Clip", clip)
    assert [kernel.takes(count) for count in (0, 1, 5)] == [False, True, True]
    assert kernel.wants_device
    assert kernel.read({"low": 1, "axis": [0, 1]}) == {"low": 1.0, "axis": [0, 1]}
    assert kernel.read({"low": "-Infinity", "axis": None}) == {"low": -math.inf, "axis": None}
    assert isinstance(kernel.read({"low": 1})["low"], float)
    for bad in ({}, {"low": "1"}, {"low": True}, {"low": 1, "axis": 0}, {"low": 1, "device": "cuda"}):
        with pytest.raises(ValueError, match="attribute"):
            kernel.read(bad)


def test_a_function_whose_signature_json_cannot_call_is_refused_as_a_kernel() -> None:
    def complex_power(x: Tensor, *, by: complex) -> Tensor:
        return x

    def untyped(x, *, by: int) -> Tensor:  # type: ignore[no-untyped-def]
        return x

    for function in (complex_power, untyped):
        with pytest.raises(TypeError, match="kernel Bad"):
            Kernel.of("Bad", function)


def test_the_table_names_each_kernel_by_its_own_name() -> None:
    assert all(kernel.name == name for name, kernel in KERNELS.items())
