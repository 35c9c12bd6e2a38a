"""Functions of pairs of elements, which broadcast: arithmetic, comparison, logic, choice."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.executor.kernels.numbers import as_int32, of_integers, of_pairs, stored, two


def floor_division(a: Tensor, b: Tensor) -> Tensor:
    """Always int32; 0 where the divisor is 0."""
    return as_int32(torch.floor(a.double() / b.double()))


def modulo(a: Tensor, b: Tensor) -> Tensor:
    """The remainder has the divisor's sign. Of integers and 0 it is 0, of floats NaN."""
    x, y = a.double(), b.double()
    rest = torch.fmod(x, y)
    alike = ((x < 0) & (y < 0)) | ((x >= 0) & (y >= 0))
    return stored(torch.where(alike, rest, torch.fmod(rest + y, y)), a.dtype)


def squared_difference(a: Tensor, b: Tensor) -> Tensor:
    return torch.square(a - b)


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    x = x.float()
    return torch.where(x < 0, alpha * x, x)


def elu_gradient(dy: Tensor, y: Tensor) -> Tensor:
    return torch.where(y >= 0, dy, dy * (y + 1)).float()


def select(condition: Tensor, t: Tensor, e: Tensor) -> Tensor:
    """On the CPU, a condition of one element, broadcast or not, gives one of the two tensors as it is."""
    if condition.device.type == "cpu" and condition.shape == t.shape and _is_one_element(condition):
        return t if condition.flatten()[0] else e
    return torch.where(condition.bool(), t, e)


def _is_one_element(x: Tensor) -> bool:
    return x.numel() > 0 and all(
        size == 1 or stride == 0 for size, stride in zip(x.shape, x.stride(), strict=True)
    )


KERNELS = {
    "Add": of_integers(torch.add),
    "Sub": of_integers(torch.sub),
    "Multiply": of_integers(torch.mul),
    "RealDiv": of_pairs(torch.div),
    "FloorDiv": floor_division,
    "Mod": modulo,
    "Pow": of_pairs(torch.pow),
    "Maximum": two(torch.maximum),
    "Minimum": two(torch.minimum),
    "SquaredDifference": of_integers(squared_difference),
    "Atan2": of_pairs(torch.atan2),
    "BitwiseAnd": two(torch.bitwise_and),
    "Prelu": prelu,
    "EluGrad": elu_gradient,
    "Equal": two(torch.eq),
    "NotEqual": two(torch.ne),
    "Less": two(torch.lt),
    "LessEqual": two(torch.le),
    "Greater": two(torch.gt),
    "GreaterEqual": two(torch.ge),
    "LogicalAnd": two(torch.logical_and),
    "LogicalOr": two(torch.logical_or),
    "Select": select,
}
