"""CARP's loss: consistency within random blocks of the prototypes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mixhead.across_ranks import mean_over_ranks

#: Below it a probability has no logarithm in float32.
_LEAST = 1e-30


def random_partition(components: int, block: int, generator: torch.Generator) -> Tensor:
    """A random partition of the prototypes into blocks: indices (components / block, block).

    Drawn anew every step, and alike in all ranks: seed the generator by the step alone. Raises ValueError
    where the blocks do not fill the prototypes.
    """
    return _blocks(torch.randperm, components, block, generator=generator, device=generator.device)


def fixed_partition(components: int, block: int) -> Tensor:
    """The prototypes in their order, in blocks: indices (components / block, block), the same at every step.

    As random as a partition drawn once, where the prototypes start at random directions. Raises ValueError as
    ``random_partition`` does.
    """
    return _blocks(torch.arange, components, block)


def _blocks(order: Callable[..., Tensor], components: int, block: int, **options: object) -> Tensor:
    if block < 2 or components % block:
        raise ValueError(f"{components} prototypes cannot be parted into blocks of {block}")
    return order(components, **options).view(-1, block)


@torch.no_grad()
def targets_in_blocks(balance: Callable[[Tensor], Tensor], logits: Tensor, partition: Tensor) -> Tensor:
    """Targets (N, K) of teacher logits (N, K), balanced in each block of ``partition`` (P, S) by itself.

    ``balance`` makes probabilities (N, S) of logits (N, S). Each row sums to 1 in every block.
    """
    partition = partition.to(logits.device)
    targets = torch.empty_like(logits, dtype=torch.float32)
    for block in partition:
        targets[:, block] = balance(logits[:, block])
    return targets


def carp_loss(
    student_logits: Tensor | Sequence[Tensor],
    targets: Tensor | Sequence[Tensor],
    views: int,
    partition: Tensor,
    temperature: float = 0.1,
) -> Tensor:
    """Consistency of the views within each block, and use of all of a block's prototypes, in float32.

    ``student_logits``, ``targets`` and ``views`` as in ``dino_loss``, the targets balanced or, as in the
    original, not; ``partition`` (P, S) holds the indices of P blocks of S prototypes. With p_s the student's
    softmax within a block, q_t the targets there, renormalised, and p the mean of both over batch, views and
    ranks:

        loss = mean over t != s, batch and blocks of -log <p_s, q_t>
             + mean over blocks of (log S + sum_k p_k log p_k)

    The original has temperature 1, since its embeddings are not normalised; cosines need about .1.
    Raises ValueError where there is no pair of different views, or where the shapes do not fit.
    """
    logits = torch.cat(list(student_logits)) if not isinstance(student_logits, Tensor) else student_logits
    probabilities = torch.cat(list(targets)) if not isinstance(targets, Tensor) else targets
    batch, rest = divmod(len(logits), views)
    teachers, odd = divmod(len(probabilities), max(batch, 1))
    if rest or odd or views < 2 or not 0 < teachers <= views:
        raise ValueError(
            f"logits {tuple(logits.shape)} of {views} views do not fit targets {tuple(probabilities.shape)}"
        )
    partition = partition.to(logits.device)
    p = (logits.float() / temperature)[:, partition].softmax(dim=-1)
    q = probabilities.float()[:, partition]
    q = q / q.sum(dim=-1, keepdim=True).clamp_min(_LEAST)
    p, q = p.unflatten(0, (views, batch)), q.unflatten(0, (teachers, batch))
    consistency = sum(
        -(p[s] * q[t]).sum(dim=-1).clamp_min(_LEAST).log().mean()
        for t in range(teachers)
        for s in range(views)
        if s != t
    )
    mean = mean_over_ranks(torch.cat([p, q]).mean(dim=(0, 1)))
    spread = math.log(partition.shape[1]) + (mean * mean.clamp_min(_LEAST).log()).sum(dim=-1).mean()
    return consistency / (teachers * (views - 1)) + spread
