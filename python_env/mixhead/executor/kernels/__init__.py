"""The kernels that a program may call: a list, by tfjs's names. What is not on it is refused.

A module for each group of ops. Each has `KERNELS`, from name to function; a function takes its tensors by
position and tfjs's attributes as annotated keywords, and gives a tensor or a tuple of them:

    def sum_(x: Tensor, *, axis: list[int], keepDims: bool) -> Tensor: ...
    KERNELS = {"Sum": sum_}

It writes to none of its inputs, and may give a view of one. An optional input that is absent is left out.
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

#: Counts the changes of the list, or of what a kernel on it does. src/backend/torch/ has the same number.
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
