"""Sums over the ranks of a training through which gradients go."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def several_ranks() -> bool:
    """Whether this process is one of several that train together by torch.distributed."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum over all ranks, which call this together. Its gradient is the sum of the ranks' gradients."""
    return _Sum.apply(tensor) if several_ranks() else tensor


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean over the ranks; see ``sum_over_ranks``."""
    return sum_over_ranks(tensor) / dist.get_world_size() if several_ranks() else tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _summed(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
