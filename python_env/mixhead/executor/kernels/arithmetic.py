"""Element-wise arithmetic, as tfjs defines it."""

from __future__ import annotations

import torch
from torch import Tensor


def add(a: Tensor, b: Tensor) -> Tensor:
    return torch.add(a, b)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    return torch.mul(a, b)


KERNELS = {"Add": add, "Multiply": multiply}
