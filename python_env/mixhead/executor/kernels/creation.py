"""Tensors made of a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from mixhead.executor.kernels.numbers import DTYPES, stored


def fill(value: Tensor, *, shape: list[int]) -> Tensor:
    """A tensor filled with one number, as a view of it."""
    return value.expand(shape)


def sequence(*, start: float, step: float, count: int, dtype: str, device: torch.device) -> Tensor:
    """start, start + step, ..., computed in float64."""
    steps = torch.arange(count, dtype=torch.float64, device=device)
    return stored(start + step * steps, DTYPES[dtype])


def diagonal(x: Tensor) -> Tensor:
    """A tensor of twice the rank, with x on its diagonal."""
    return torch.diag(x.flatten()).view([*x.shape, *x.shape])


KERNELS = {"Fill": fill, "Range": sequence, "Diag": diagonal}
