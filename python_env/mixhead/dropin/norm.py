"""The norm that `norm="batch"` puts before the L2 norm of a head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mixhead.across_ranks import several_ranks, sum_over_ranks

NORMS = (None, "batch", "syncbatch")
_EPSILON = 1e-5
_MOMENTUM = 0.1


class EmbeddingNorm(nn.Module):
    """Rows less their mean, over their standard deviation, per dimension: a batch norm without parameters.

    It is no subclass of torch's, since DINOv2 and DINOv3 refuse models that hold one and Meta's DINO wraps
    them in another way. Rows that are padding count neither in the mean nor in the running statistics, which
    evaluation uses. Statistics that are not finite, as a start on the meta device leaves them, are replaced
    by those of the next batch.

    across_ranks: the mean and the variance are those of all ranks' rows ("syncbatch").
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
        """Starts again from mean 0 and variance 1, which leave rows as they are."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def forward(self, rows: Tensor, padding: Tensor | None = None, batch: bool | None = None) -> Tensor:
        """(N, dim) -> (N, dim), of the rows' dtype.

        padding: (N,) bool. batch: whether by the batch's statistics; None: in training mode.
        """
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if not (self.training if batch is None else batch):
            mean = torch.where(self.running_mean.isfinite(), self.running_mean, 0)
            variance = torch.where(self.running_var.isfinite(), self.running_var, 1)
        else:
            mean, variance = self._of_batch(wide, padding)
        return ((wide - mean) * torch.rsqrt(variance + _EPSILON)).to(rows.dtype)

    def _of_batch(self, rows: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        if padding is None:
            padding = rows.new_zeros(len(rows), dtype=torch.bool)
        counted = (~padding)[:, None].to(rows.dtype)
        count = self._sum(counted)
        at_least_one = count.clamp(min=1)
        mean = self._sum(rows * counted) / at_least_one
        # The first sum rounds to the size of the rows; what is left of it, to that of their deviations.
        mean = mean + self._sum((rows - mean) * counted) / at_least_one
        variance = self._sum((rows - mean).square() * counted) / at_least_one
        self._remember(mean.detach(), variance.detach(), count.detach())
        return mean, variance

    def takes_others_rows(self) -> bool:
        """Whether the rows of other ranks count too."""
        return self.across_ranks and several_ranks()

    def _sum(self, values: Tensor) -> Tensor:
        total = values.sum(dim=0)
        return sum_over_ranks(total) if self.takes_others_rows() else total

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        unbiased = variance * (count / (count - 1).clamp(min=1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            moved = torch.where(running.isfinite(), running.lerp(new.to(running), _MOMENTUM), new.to(running))
            running.copy_(torch.where(count > 0, moved, running))
        self.num_batches_tracked += 1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A checkpoint of a head without a norm: what this one begins with leaves rows as they are."""
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{self.dim}, across_ranks={self.across_ranks}"


def embedding_norm(norm: str | None, dim: int) -> EmbeddingNorm | None:
    """The norm of that name, or none. Raises ValueError for another name."""
    if norm not in NORMS:
        raise ValueError(f'norm is {norm!r}; allowed: None, "batch", "syncbatch"')
    return None if norm is None else EmbeddingNorm(dim, across_ranks=norm == "syncbatch")
