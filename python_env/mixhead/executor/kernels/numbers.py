"""JavaScript's numbers: computed in float64, and converted when they are stored in a typed array."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: The dtypes that tfjs has, by its names.
DTYPES = {"float32": torch.float32, "int32": torch.int32, "bool": torch.bool}
_WRAP = 2.0**32


def host_sees(x: Tensor) -> bool:
    """Whether the host can read a tensor's values without waiting for a device."""
    return x.device.type == "cpu"


def stored(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Converts `x` to `dtype` as a JavaScript typed array would."""
    if x.dtype is dtype:
        return x
    if dtype is torch.int32:
        return as_int32(x)
    return as_int32(x).ne(0) if dtype is torch.bool else x.to(dtype)


def as_int32(x: Tensor) -> Tensor:
    """Truncates the fraction and wraps around at 32 bits. Numbers that are not finite become 0."""
    if not x.is_floating_point():
        return x.to(torch.int32)
    wrapped = torch.fmod(x.double(), _WRAP).nan_to_num_(nan=0.0)
    return wrapped.to(torch.int64).to(torch.int32)


def one(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Wraps a torch function, which has no signature, as a kernel of one tensor."""

    def kernel(x: Tensor) -> Tensor:
        return function(x)

    return kernel


def two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The same for two tensors that broadcast."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return function(a, b)

    return kernel


def of_each(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A kernel of one tensor that keeps its dtype: float32 directly, other dtypes through float64."""

    def kernel(x: Tensor) -> Tensor:
        if x.dtype is torch.float32:
            return function(x)
        return stored(function(x.double()), x.dtype)

    return kernel


def of_pairs(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The same for two tensors of one dtype that broadcast."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        if a.dtype is torch.float32:
            return function(a, b)
        return stored(function(a.double(), b.double()), a.dtype)

    return kernel


def of_integers(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A kernel that computes int32 in torch, which wraps around, and bool as 0 and 1."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        if a.dtype is torch.bool:
            return function(a.to(torch.int32), b.to(torch.int32)).ne(0)
        return function(a, b)

    return kernel
