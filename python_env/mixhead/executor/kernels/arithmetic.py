"""Broadcasting functions of pairs of elements: arithmetic, comparison, logic, selection."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mixhead.executor.kernels.numbers import as_int32, of_integers, of_pairs, stored, two


def floor_division(a: Tensor, b: Tensor) -> Tensor:
    """The floor of a / b, always int32; 0 if the divisor is 0."""
    return as_int32(torch.floor(a.double() / b.double()))


def modulo(a: Tensor, b: Tensor) -> Tensor:
    """The remainder, with the divisor's sign. For a divisor of 0 it is 0 in integers and NaN in floats."""
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
    """`t` where the condition holds, `e` elsewhere.

    On the CPU, a broadcast condition that is all true or all false returns `t` or `e` without a copy."""
    if condition.device.type == "cpu" and condition.shape == t.shape:
        told = _told(condition)
        if told is not None:
            return t if told else e
    return torch.where(condition.bool(), t, e)


def _told(x: Tensor) -> bool | None:
    """True or False if all elements of a broadcast tensor are equal to it; None if they differ, or if
    looking at them is too expensive."""
    copies = math.prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride == 0)
    if x.numel() == 0 or copies < min(_FEW, x.numel()):
        return None
    for axis, stride in enumerate(x.stride()):
        x = x.narrow(axis, 0, 1) if stride == 0 else x
    if x.all():
        return True
    return None if x.any() else False


#: Checking the elements pays if each has at least this many copies.
_FEW = 16

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
