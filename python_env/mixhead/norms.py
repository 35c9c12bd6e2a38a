"""Batch norms whose mean and variance are those of all ranks' rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mixhead.across_ranks import sum_over_ranks
from mixhead.moments import moments

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class NormAcrossRanks(_BatchNorm):
    """A batch norm over all ranks' rows, on any device: torch's SyncBatchNorm is for GPUs alone.

    In evaluation mode it is a batch norm, and nothing is exchanged.
    """

    # None in a norm that tracks nothing, which this is not for.
    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def _check_input_dim(self, input: Tensor) -> None:
        """Any that a batch norm takes."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        normed, mean, variance, count = standardise(input, self.eps)
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp_min(1))
            for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                running.lerp_(new.to(running), self.momentum)
            self.num_batches_tracked += 1
        if self.weight is None:
            return normed
        shape = [1, -1, *[1] * (input.ndim - 2)]
        return torch.addcmul(self.bias.view(shape), normed, self.weight.view(shape)).to(input.dtype)


def standardise(rows: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows (N, C, ...) less the mean over all ranks, by their deviation; ranks may have different N, or 0.

    Besides, without gradient: mean (C,), variance (C,), and how many values each is of.
    """
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    shape = [1, -1, *[1] * (rows.ndim - 2)]
    mean, variance, count, deviations = moments(wide, total=sum_over_ranks)
    normed = deviations * torch.rsqrt(variance + eps).view(shape)
    return normed.to(rows.dtype), mean.detach(), variance.detach(), count.clamp_min(1)


def across_ranks(module: nn.Module, on_gpu: bool) -> nn.Module:
    """The module with all its batch norms across ranks. Raises ValueError if one is of another kind."""
    for part in module.modules():
        if isinstance(part, _BatchNorm) and type(part) not in _KINDS:
            raise ValueError(f"norms of kind {type(part).__name__} cannot be taken across ranks")
    return nn.SyncBatchNorm.convert_sync_batchnorm(module) if on_gpu else _replaced(module)


def _replaced(module: nn.Module) -> nn.Module:
    if isinstance(module, _BatchNorm) and type(module) in _KINDS:
        return _converted(module)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module


def _converted(norm: _BatchNorm) -> NormAcrossRanks:
    """With the same parameters and buffers."""
    new = NormAcrossRanks(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    ).train(norm.training)
    new._parameters, new._buffers = norm._parameters, norm._buffers
    return new
