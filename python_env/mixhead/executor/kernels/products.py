"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.executor.kernels.numbers import stored


def matrix_product(a: Tensor, b: Tensor, *, transposeA: bool, transposeB: bool) -> Tensor:
    """The product over the last two axes; earlier axes broadcast. int32 is computed in float64, because CUDA
    has no integer product."""
    x = a.mT if transposeA else a
    y = b.mT if transposeB else b
    if a.dtype is torch.float32:
        return torch.matmul(x, y)
    return stored(torch.matmul(x.double(), y.double()), a.dtype)


def einsum(*tensors: Tensor, equation: str) -> Tensor:
    first = tensors[0]
    if first.dtype is torch.float32:
        return torch.einsum(equation, *tensors)
    return stored(torch.einsum(equation, *(each.double() for each in tensors)), first.dtype)


KERNELS = {"BatchMatMul": matrix_product, "Einsum": einsum}
