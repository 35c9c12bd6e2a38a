"""The DINO loss, and the two ways to make balanced targets for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def dino_loss(
    student_logits: Tensor | Sequence[Tensor],
    targets: Tensor | Sequence[Tensor],
    views: int,
    temperature: float,
) -> Tensor:
    """Mean cross-entropy over the pairs of different views, in float32.

    ``student_logits`` are the cosines of all V views, (V B, K) with the views one after the other, or
    a list of V tensors (B, K); ``targets`` the probabilities of the first G of these views, likewise.
    With p_t the targets of view t and q_s = softmax(z_s / temperature) the student's of view s:

        loss = 1 / (B pairs) sum_{t != s} sum_b H(p_tb, q_sb)        (DINO, equation 3)

    Raises ValueError where there is no pair of different views, or where the shapes do not fit.
    """
    logits = torch.cat(list(student_logits)) if not isinstance(student_logits, Tensor) else student_logits
    probabilities = torch.cat(list(targets)) if not isinstance(targets, Tensor) else targets
    batch, rest = divmod(len(logits), views)
    if rest or len(probabilities) % max(batch, 1) or logits.shape[1:] != probabilities.shape[1:]:
        raise ValueError(
            f"logits {tuple(logits.shape)} of {views} views do not fit targets {tuple(probabilities.shape)}"
        )
    teachers = len(probabilities) // batch
    same = min(teachers, views)
    pairs = teachers * views - same
    if pairs == 0:
        raise ValueError("the loss needs at least two views")
    log_q = F.log_softmax(logits.float() / temperature, dim=-1)
    # All pairs of views in one product: (G, B K) x (B K, V).
    cross = -(probabilities.float().reshape(teachers, -1) @ log_q.reshape(views, -1).T)
    off_diagonal = 1 - torch.eye(teachers, views, device=cross.device)
    return (cross * off_diagonal).sum() / (pairs * batch)


class Center:
    """DINO's centre: a moving average of the teacher's mean logits, subtracted before the softmax."""

    def __init__(self, components: int, momentum: float = 0.9, device: torch.device | str = "cpu") -> None:
        self.momentum = momentum
        self.value = torch.zeros(components, device=device)

    @torch.no_grad()
    def targets(self, logits: Tensor, temperature: float) -> Tensor:
        """softmax((z - c) / temperature) of teacher logits z (N, K); then c <- m c + (1 - m) mean(z)."""
        logits = logits.float()
        probabilities = F.softmax((logits - self.value) / temperature, dim=-1)
        self.value = self.value * self.momentum + logits.mean(dim=0) * (1 - self.momentum)
        return probabilities


@torch.no_grad()
def softmax_targets(logits: Tensor, temperature: float) -> Tensor:
    """softmax(z / temperature) of teacher logits (N, K): targets that nothing balances."""
    return F.softmax(logits.float() / temperature, dim=-1)


@torch.no_grad()
def sinkhorn_targets(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Sinkhorn-Knopp over the batch: teacher logits (N, K) -> probabilities (N, K), rows sum to 1.

    Scales Q = exp(z / temperature) alternately so that each column sums to 1 / K and each row to 1 / N.
    Only the scales move. Each row's largest logit is taken off and goes into the scale that the row
    starts with: the same numbers, but no row underflows to zeros at a low temperature.
    """
    n, k = logits.shape
    largest = logits.float().max(dim=1, keepdim=True).values
    q = torch.exp((logits - largest) / temperature)
    rows = torch.exp((largest - largest.max()) / temperature).squeeze(1)
    floor = 1e-30  # its inverse, times N and K, is still far from overflow
    for _ in range(iterations):
        columns = 1 / (k * (rows @ q)).clamp_min(floor)
        rows = 1 / (n * (q @ columns)).clamp_min(floor)
    return q.mul_(columns).mul_((rows * n).unsqueeze(1))
