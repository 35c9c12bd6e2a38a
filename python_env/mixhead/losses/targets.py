"""What the student learns to predict: made from the teacher's logits, balanced over the prototypes or not."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


class Center:
    """DINO's centre: a moving average of the teacher's mean logits, subtracted before the softmax.

    ``across_ranks``: the mean is that of all ranks, which call it together with batches of one size.
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
        mean = logits.mean(dim=0)
        if self.across_ranks and _ranks() > 1:
            mean = _all_reduce(mean, "SUM") / _ranks()
        self.value = self.value * self.momentum + mean * (1 - self.momentum)
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
    Only the scales move. Each row's largest logit is taken off and goes into the scale that the row
    starts with: the same numbers, but no row underflows to zeros at a low temperature.
    ``across_ranks``: the batch is that of all ranks, which call this together.
    """
    n, k = logits.shape
    reduce = _all_reduce if across_ranks and _ranks() > 1 else _alone
    n = reduce(torch.tensor(float(n), device=logits.device), "SUM")
    largest = logits.float().max(dim=1, keepdim=True).values
    q = torch.exp((logits - largest) / temperature)
    rows = torch.exp((largest - reduce(largest.max(), "MAX")) / temperature).squeeze(1)
    floor = 1e-30  # its inverse, times N and K, is still far from overflow
    for _ in range(iterations):
        columns = 1 / (k * reduce(rows @ q, "SUM")).clamp_min(floor)
        rows = 1 / (n * (q @ columns)).clamp_min(floor)
    return q.mul_(columns).mul_((rows * n).unsqueeze(1))


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _alone(tensor: Tensor, operation: str) -> Tensor:
    return tensor


def _all_reduce(tensor: Tensor, operation: str) -> Tensor:
    dist.all_reduce(tensor, getattr(dist.ReduceOp, operation))
    return tensor
