"""Reductions and cumulative sums and products along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixhead.executor.kernels.numbers import DTYPES, host_sees


def total(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    """The sum. int32 wraps around."""
    return torch.sum(x, axis, keepDims, dtype=x.dtype)


def mean(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    """The mean; 0 if there are no elements."""
    return torch.mean(x, axis, keepDims) if x.numel() > 0 else torch.sum(x, axis, keepDims)


def product(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    """The product. int32 wraps around."""
    for each in sorted(axis, reverse=True):
        x = torch.prod(x, each, keepDims, dtype=x.dtype)
    return x


def largest(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    """The maximum; NaN if there is a NaN."""
    return torch.amax(x, axis, keepDims) if x.numel() > 0 else _of_nothing(x, axis, keepDims)


def smallest(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    """The minimum; NaN if there is a NaN."""
    return torch.amin(x, axis, keepDims) if x.numel() > 0 else _of_nothing(x, axis, keepDims)


def _of_nothing(x: Tensor, axis: list[int], keepDims: bool) -> Tensor:
    nothing = torch.sum(x, axis, keepDims, dtype=x.dtype)
    return torch.full_like(nothing, float("nan")) if x.dtype is torch.float32 else nothing


def every(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    return torch.all(x, axis, keepDims)


def some(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    return torch.any(x, axis, keepDims)


def place_of_largest(x: Tensor, *, axis: int) -> Tensor:
    return _place(x, axis, torch.max, float("-inf"))


def place_of_smallest(x: Tensor, *, axis: int) -> Tensor:
    return _place(x, axis, torch.min, float("inf"))


def _place(x: Tensor, axis: int, extreme: Callable[..., tuple[Tensor, Tensor]], least: float) -> Tensor:
    """The index of the first extreme element. Skips NaN, unless the row begins with it."""
    x = x.to(torch.int32) if x.dtype is torch.bool else x
    if x.numel() == 0:
        return torch.sum(x, axis).to(torch.int32)
    values, places = extreme(x, axis)
    if x.dtype is torch.float32:
        spoilt = values.isnan()
        if not host_sees(x) or bool(spoilt.any()):
            masked = torch.where(x.isnan(), least, x)
            begins = x.select(axis, 0).isnan()
            places = torch.where(spoilt, extreme(masked, axis)[1].masked_fill(begins, 0), places)
    return places.to(torch.int32)


def running_sum(x: Tensor, *, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    return _running(x, torch.cumsum, 0, axis, exclusive, reverse)


def running_product(x: Tensor, *, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    return _running(x, torch.cumprod, 1, axis, exclusive, reverse)


def _running(
    x: Tensor, run: Callable[..., Tensor], start: int, axis: int, exclusive: bool, reverse: bool
) -> Tensor:
    """Accumulates along `axis`. `exclusive`: without the element itself. int32 wraps around."""
    if x.shape[axis] == 0:
        return x
    x = x.flip(axis) if reverse else x
    if exclusive:
        first = torch.full_like(x.narrow(axis, 0, 1), start)
        x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    x = run(x, axis, dtype=x.dtype)
    return x.flip(axis) if reverse else x


def count(x: Tensor, *weights: Tensor, size: int, binary: bool, dtype: str) -> Tensor:
    """How often each number in [0, size) occurs in x (M) or in each row of x (N, M), or its weights' sum.

    Other numbers are ignored. `binary`: whether the number occurs, as 0 or 1.
    """
    rows = x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)
    places = torch.where((rows >= 0) & (rows < size), rows, size).to(torch.int64)
    places += torch.arange(len(rows), device=x.device)[:, None] * (size + 1)
    counts = torch.zeros(len(rows) * (size + 1), dtype=DTYPES[dtype], device=x.device)
    added = weights[0].reshape(places.shape) if weights else torch.ones_like(places, dtype=counts.dtype)
    # In a fixed order: index_put_ guarantees it on CUDA, index_add_ on the CPU.
    if host_sees(x):
        counts.index_add_(0, places.flatten(), added.flatten())
    else:
        counts.index_put_((places.flatten(),), added.flatten(), accumulate=True)
    counts = counts.view(len(rows), size + 1)[:, :size].reshape([*x.shape[:-1], size])
    return counts.clamp(max=1) if binary else counts


KERNELS = {
    "Sum": total,
    "Mean": mean,
    "Prod": product,
    "Max": largest,
    "Min": smallest,
    "All": every,
    "Any": some,
    "ArgMax": place_of_largest,
    "ArgMin": place_of_smallest,
    "Cumsum": running_sum,
    "Cumprod": running_product,
    "Bincount": count,
}
