"""Targets for the student, made from the teacher's logits, balanced over the prototypes or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.across_ranks import several_ranks

#: Smallest divisor. Its inverse times N and K is still far from overflow in float32.
_LEAST = 1e-30

#: Reduces a tensor ("SUM" or "MAX") over the ranks whose rows are balanced together.
_Reduce = Callable[[Tensor, str], Tensor]


class Center:
    """DINO's centre: a moving average of the teacher's mean logits, subtracted before the softmax.

    Args:
        components: The number K of prototypes.
        momentum: Weight of the old centre, in [0, 1].
        device: Where the centre is held.
        across_ranks: Average over the batches of all ranks. Then all ranks have to call `targets` together.
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
        """Teacher logits z (N, K) -> softmax((z - c) / temperature) (N, K); then c <- m c + (1 - m) mean(z).

        An empty batch leaves the centre c as it is.
        """
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
    """Teacher logits z (N, K) -> softmax(z / temperature) (N, K): targets without balancing."""
    return F.softmax(logits.float() / temperature, dim=-1)


@torch.no_grad()
def sinkhorn_targets(
    logits: Tensor, temperature: float, iterations: int = 3, across_ranks: bool = False
) -> Tensor:
    """Balances targets over the batch with Sinkhorn-Knopp.

    Scales Q = exp(z / temperature) alternately so that each column sums to 1 / K and each row to 1 / N.

    Args:
        logits: The teacher's logits z, (N, K).
        temperature: The teacher's.
        iterations: Number of scalings of columns and rows.
        across_ranks: Balance over the batches of all ranks. Then all ranks have to call this together.

    Returns:
        Probabilities (N, K), float32. Each row sums to 1.
    """
    reduce = _reduction(across_ranks)
    q, largest = _exponentials(logits, temperature)
    none = largest.new_full((1,), -torch.inf)  # a batch without a row has no largest logit
    rows = torch.exp((largest - reduce(torch.cat([largest, none]).max(), "MAX")) / temperature)
    return _scale(q, rows, _count(logits, reduce), iterations, reduce)[0]


class Sinkhorn(nn.Module):
    """Sinkhorn-Knopp over the batch and ``memory`` earlier rows, for batches that are small relative to K.

    On its own, a batch of N rows has to use all K prototypes equally, so each row is assigned to K / N of
    them, near or not. The balance of a batch is described by K sums: its targets are
    softmax(z / T - log s) with

        s_k = mean over rows i of exp(z_ik / T) / (mean over prototypes j of exp(z_ij / T) / s_j).

    This class extends that mean to earlier rows, each with the term that it had in its own batch:
    s <- (M s + N s_batch) / (M + N) for N rows after M = min(rows so far, ``memory``). So K numbers replace
    the queue of rows that SwAV keeps, at no extra cost per batch. In DINO's terms, T log s is the centre
    under which all prototypes are used equally.

    With ``memory`` 0 it equals ``sinkhorn_targets`` and has no state. A batch that is empty or not finite
    leaves the memory as it is.

    Args:
        components: The number K of prototypes.
        memory: How many earlier rows count, 0 or more.
        iterations: Number of scalings of columns and rows.
        across_ranks: Balance over the batches of all ranks. Then all ranks have to call this together.

    Raises:
        ValueError: If `memory` is negative.
    """

    log_sums: Tensor
    rows: Tensor

    def __init__(
        self, components: int, memory: int = 0, iterations: int = 3, across_ranks: bool = False
    ) -> None:
        super().__init__()
        if memory < 0:
            raise ValueError(f"memory is {memory}; allowed: a number of rows, 0 or more")
        self.memory = memory
        self.iterations = iterations
        self.across_ranks = across_ranks
        if memory > 0:
            # A common factor of all sums changes no target, so the largest is kept at 1 to avoid underflow.
            self.register_buffer("log_sums", torch.zeros(components))
            self.register_buffer("rows", torch.zeros(()))

    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Teacher logits (N, K) -> probabilities (N, K), rows sum to 1. Every call updates the memory."""
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
    """exp((z - m) / temperature) (N, K) and the largest logit m of each row (N,).

    Subtracting m keeps rows from underflowing to 0. It only scales the row, and Sinkhorn-Knopp finds the
    scales of rows anyway.
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
    """Alternately scales the columns and rows of q (N, K), starting from row scales (N,).

    q is overwritten by the targets. ``n``: the number of rows of all ranks. ``past``: column sums (K,) of
    earlier rows, and their weight in [0, 1]. Returns the targets and the last column sums.
    """
    for _ in range(iterations):
        with _float32(q):
            sums = reduce(rows @ q, "SUM")
        if past is not None:
            sums = torch.lerp(sums, *past)
        rows = _row_scales(q, sums, n)
    return q.mul_(_column_scales(sums)).mul_((rows * n).unsqueeze(1)), sums


def _column_scales(sums: Tensor) -> Tensor:
    """The scales (K,) that make columns with these sums sum to 1 / K each."""
    return 1 / (len(sums) * sums).clamp_min(_LEAST)


def _row_scales(q: Tensor, sums: Tensor, n: Tensor) -> Tensor:
    """The scales (N,) that make each row of q sum to 1 / n, after its columns are scaled."""
    with _float32(q):
        return 1 / (n * (q @ _column_scales(sums))).clamp_min(_LEAST)


def _float32(tensor: Tensor) -> torch.autocast:
    """Disables autocast, since half precision cannot hold the scales."""
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
