"""The norm before a head's L2 norm, for `norm="batch"` and `norm="syncbatch"`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mixhead.across_ranks import several_ranks, sum_over_ranks
from mixhead.moments import moments

NORMS = (None, "batch", "syncbatch")
_EPSILON = 1e-5
_MOMENTUM = 0.1


class EmbeddingNorm(nn.Module):
    """A batch norm without parameters: subtracts the mean and divides by the standard deviation, per
    dimension.

    It does not derive from torch's batch norm, because DINOv2 and DINOv3 refuse models that contain one, and
    Meta's DINO wraps such models differently. Padding counts neither in the batch's statistics nor in the
    running ones, which evaluation uses. Running statistics that are not finite, as after construction on the
    meta device, are replaced by those of the next batch.

    across_ranks: use the mean and variance over the rows of all ranks ("syncbatch").
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int, across_ranks: bool = False) -> None:
        super().__init__()
        self.dim, self.across_ranks = dim, across_ranks
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def reset_running_stats(self) -> None:
        """Resets to mean 0 and variance 1, which leave rows as they are."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def forward(self, rows: Tensor, padding: Tensor | None = None, batch: bool | None = None) -> Tensor:
        """Rows (N, dim) -> normalised rows (N, dim) of the same dtype.

        padding: which rows do not count, (N,) bool. batch: use the batch's statistics instead of the running
        ones; None: in training mode.
        """
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if not (self.training if batch is None else batch):
            mean = torch.where(self.running_mean.isfinite(), self.running_mean, 0)
            variance = torch.where(self.running_var.isfinite(), self.running_var, 1)
        else:
            counted = None if padding is None else ~padding
            total = sum_over_ranks if self.across_ranks else None
            mean, variance, count, _ = moments(wide, counted, total=total, refine=True)
            self._remember(mean.detach(), variance.detach(), count)
        return ((wide - mean) * torch.rsqrt(variance + _EPSILON)).to(rows.dtype)

    def takes_others_rows(self) -> bool:
        """Whether the rows of other ranks count as well."""
        return self.across_ranks and several_ranks()

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        unbiased = variance * (count / (count - 1).clamp(min=1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            moved = torch.where(running.isfinite(), running.lerp(new.to(running), _MOMENTUM), new.to(running))
            running.copy_(torch.where(count > 0, moved, running))
        self.num_batches_tracked += 1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Accepts checkpoints of heads without a norm: the initial statistics leave rows as they are."""
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{self.dim}, across_ranks={self.across_ranks}"


def embedding_norm(norm: str | None, dim: int) -> EmbeddingNorm | None:
    """The norm of that name; None for None. Raises ValueError for another name."""
    if norm not in NORMS:
        raise ValueError(f'norm is {norm!r}; allowed: None, "batch", "syncbatch"')
    return None if norm is None else EmbeddingNorm(dim, across_ranks=norm == "syncbatch")


def normed(norm: EmbeddingNorm, rows: Tensor, padding: Tensor | None, batch: bool) -> Tensor:
    """Applies the norm to rows (..., D). Raises ValueError if the batch's statistics are needed and it has a
    single row."""
    flat = rows.reshape(-1, rows.shape[-1])
    if batch and len(flat) == 1 and not norm.takes_others_rows():
        raise ValueError(
            'norm="batch" needs at least two rows in training, and this batch has one: '
            "use larger batches, drop the last partial one (drop_last=True), or norm=None"
        )
    flat_padding = None if padding is None else padding.reshape(-1)
    made: Tensor = norm(flat, flat_padding, batch)
    return made.view_as(rows)
