"""What the student learns to predict: made from the teacher's logits, balanced over the prototypes or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.across_ranks import several_ranks

#: Its inverse, times N and K, is still far from overflow in float32.
_LEAST = 1e-30

#: Adds up a tensor, or takes its largest ("SUM", "MAX"), over those whose rows are balanced together.
_Reduce = Callable[[Tensor, str], Tensor]


class Center:
    """DINO's centre: a moving average of the teacher's mean logits, subtracted before the softmax.

    ``across_ranks``: the mean is that of all ranks, which call it together. Without a row nothing moves.
    """

    def __init__(
        self,
        components: int,
        momentum: float = 0.9,
        device: torch.device | str = "cpu",
        across_ranks: bool = False,
    ) -> None:
        self.momentum = momentum
        self.across_ranks = across_ranks
        self.value = torch.zeros(components, device=device)

    @torch.no_grad()
    def targets(self, logits: Tensor, temperature: float) -> Tensor:
        """softmax((z - c) / temperature) of teacher logits z (N, K); then c <- m c + (1 - m) mean(z)."""
        logits = logits.float()
        probabilities = F.softmax((logits - self.value) / temperature, dim=-1)
        reduce = _reduction(self.across_ranks)
        rows = _count(logits, reduce)
        mean = reduce(logits.sum(dim=0), "SUM") / rows.clamp_min(1)
        moved = self.value * self.momentum + mean * (1 - self.momentum)
        self.value = torch.where(rows > 0, moved, self.value)
        return probabilities


@torch.no_grad()
def softmax_targets(logits: Tensor, temperature: float) -> Tensor:
    """softmax(z / temperature) of teacher logits (N, K): targets that nothing balances."""
    return F.softmax(logits.float() / temperature, dim=-1)


@torch.no_grad()
def sinkhorn_targets(
    logits: Tensor, temperature: float, iterations: int = 3, across_ranks: bool = False
) -> Tensor:
    """Sinkhorn-Knopp over the batch: teacher logits (N, K) -> probabilities (N, K), rows sum to 1.

    Scales Q = exp(z / temperature) alternately so that each column sums to 1 / K and each row to 1 / N.
    ``across_ranks``: the batch is that of all ranks, which call this together.
    """
    reduce = _reduction(across_ranks)
    q, largest = _exponentials(logits, temperature)
    none = largest.new_full((1,), -torch.inf)  # a batch without a row has no largest logit
    rows = torch.exp((largest - reduce(torch.cat([largest, none]).max(), "MAX")) / temperature)
    return _scale(q, rows, _count(logits, reduce), iterations, reduce)[0]


class Sinkhorn(nn.Module):
    """Sinkhorn-Knopp over the batch and ``memory`` rows before it: for batches that are small beside K.

    By itself a batch of N rows has to use all K prototypes alike, so each row is given K / N of them, near or
    not. What balances a batch are K sums: its targets are softmax(z / T - log s), with

        s_k = mean over rows i of exp(z_ik / T) / (mean over prototypes j of exp(z_ij / T) / s_j).

    Here that is the mean over the rows before as well, each with the term that it had in its own batch:
    s <- (M s + N s_batch) / (M + N) for N rows after M = min(rows so far, ``memory``). So K numbers stand for
    the rows that SwAV keeps in a queue, and a batch costs what it cost. Seen from DINO, T log s is a centre,
    the one under which the prototypes are used alike.

    With ``memory`` 0 it is ``sinkhorn_targets`` and has no state. A batch that has no row, or is not finite,
    leaves the memory as it is. ``across_ranks``: the batch is that of all ranks, which call this together.
    """

    log_sums: Tensor
    rows: Tensor

    def __init__(
        self, components: int, memory: int = 0, iterations: int = 3, across_ranks: bool = False
    ) -> None:
        """Raises ValueError where the memory is negative."""
        super().__init__()
        if memory < 0:
            raise ValueError(f"memory is a number of rows, 0 or more, not {memory}")
        self.memory = memory
        self.iterations = iterations
        self.across_ranks = across_ranks
        if memory > 0:
            # A factor common to all sums changes no target, so the largest is 1: none is lost to rounding.
            self.register_buffer("log_sums", torch.zeros(components))
            self.register_buffer("rows", torch.zeros(()))

    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Teacher logits (N, K) -> probabilities (N, K), rows sum to 1. The memory moves with every call."""
        if self.memory == 0:
            return sinkhorn_targets(logits, temperature, self.iterations, self.across_ranks)
        reduce = _reduction(self.across_ranks)
        before, seen = (tensor.to(logits.device, torch.float32) for tensor in (self.log_sums, self.rows))
        n = _count(logits, reduce)
        past, weight = before.exp(), seen / (seen + n).clamp_min(1)
        q, _ = _exponentials(logits, temperature)
        rows = _row_scales(q, past, n)
        targets, sums = _scale(q, rows, n, self.iterations, reduce, (past, weight))

        after = sums.clamp_min(_LEAST).log()
        after = after - after.max()
        good = after.isfinite().all() & (n > 0)
        self.log_sums = torch.where(good, after, before)
        self.rows = torch.where(good, (seen + n).clamp_max(self.memory), seen)
        return targets


def _exponentials(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """exp(z / temperature) (N, K) with each row's largest z (N,) taken off, so that no row is all 0.

    Taking it off is a scale of the row, and scales are all that Sinkhorn-Knopp moves.
    """
    logits = logits.float()
    largest = logits.max(dim=1).values
    return torch.exp((logits - largest.unsqueeze(1)) / temperature), largest


def _scale(
    q: Tensor,
    rows: Tensor,
    n: Tensor,
    iterations: int,
    reduce: _Reduce,
    past: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Scales q (N, K), which becomes the targets, in turn by column and by row, from scales of its rows (N,).

    ``n``: rows in all. ``past``: column sums (K,) and their weight beside the batch's own. Returns the
    targets and the last column sums.
    """
    for _ in range(iterations):
        with _float32(q):
            sums = reduce(rows @ q, "SUM")
        if past is not None:
            sums = torch.lerp(sums, *past)
        rows = _row_scales(q, sums, n)
    return q.mul_(_column_scales(sums)).mul_((rows * n).unsqueeze(1)), sums


def _column_scales(sums: Tensor) -> Tensor:
    """The scales (K,) with which columns of these sums would sum to 1 / K each."""
    return 1 / (len(sums) * sums).clamp_min(_LEAST)


def _row_scales(q: Tensor, sums: Tensor, n: Tensor) -> Tensor:
    """The scales (N,) with which each row of q sums to 1 / n, once its columns are scaled by their sums."""
    with _float32(q):
        return 1 / (n * (q @ _column_scales(sums))).clamp_min(_LEAST)


def _float32(tensor: Tensor) -> torch.autocast:
    """Has products of float32 made in float32 under autocast too: half precision has no room for scales."""
    return torch.autocast(tensor.device.type, enabled=False)


def _count(logits: Tensor, reduce: _Reduce) -> Tensor:
    return reduce(torch.full((), float(len(logits)), device=logits.device), "SUM")


def _reduction(across_ranks: bool) -> _Reduce:
    return _all_reduce if across_ranks and several_ranks() else _alone


def _alone(tensor: Tensor, operation: str) -> Tensor:
    return tensor


def _all_reduce(tensor: Tensor, operation: str) -> Tensor:
    dist.all_reduce(tensor, getattr(dist.ReduceOp, operation))
    return tensor
