"""The kernels that a program may call, by tfjs's names. All others are refused.

There is a module for each group of ops. Its `KERNELS` maps names to functions. A function accepts tensors by
position and tfjs's attributes as annotated keywords, and returns a tensor or a tuple of tensors:

    def sum_(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor: ...
    KERNELS = {"Sum": sum_}

It must not write to its inputs, and may return a view of one. An optional input may be absent.
"""

from __future__ import annotations

from mixhead.executor.kernels import (
    arithmetic,
    creation,
    elementwise,
    indexing,
    products,
    reductions,
    shaping,
)
from mixhead.executor.kernels.kernel import Function, Kernel

#: Increases when the list or a kernel's behaviour changes. src/backend/torch/ has the same number.
KERNELS_VERSION = 1

_MODULES = (arithmetic, creation, elementwise, indexing, products, reductions, shaping)


def _assembled() -> dict[str, Kernel]:
    kernels: dict[str, Kernel] = {}
    for module in _MODULES:
        for name, function in module.KERNELS.items():
            if name in kernels:
                raise TypeError(f"kernel {name} is in two modules")
            kernels[name] = Kernel.of(name, function)
    return kernels


KERNELS: dict[str, Kernel] = _assembled()

__all__ = ["KERNELS", "KERNELS_VERSION", "Function", "Kernel"]
