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
    """Partitions the prototypes into random blocks.

    Draw a new partition at every step. All ranks need the same one: seed the generator with the step alone.

    Args:
        components: The number K of prototypes.
        block: Prototypes in a block, from 2 on; it has to divide K.
        generator: The source of randomness.

    Returns:
        The indices of the prototypes, (components / block, block).

    Raises:
        ValueError: If `block` is below 2 or does not divide K.
    """
    return _blocks(torch.randperm, components, block, generator=generator, device=generator.device)


def fixed_partition(components: int, block: int) -> Tensor:
    """Partitions the prototypes into consecutive blocks, the same at every step.

    If the prototypes start in random directions, this is as random as a partition that is drawn once.

    Args:
        components: The number K of prototypes.
        block: Prototypes in a block, from 2 on; it has to divide K.

    Returns:
        The indices of the prototypes, (components / block, block).

    Raises:
        ValueError: If `block` is below 2 or does not divide K.
    """
    return _blocks(torch.arange, components, block)


def _blocks(order: Callable[..., Tensor], components: int, block: int, **options: object) -> Tensor:
    if block < 2 or components % block:
        raise ValueError(f"{components} prototypes cannot be divided into blocks of {block}")
    return order(components, **options).view(-1, block)


@torch.no_grad()
def targets_in_blocks(balance: Callable[[Tensor], Tensor], logits: Tensor, partition: Tensor) -> Tensor:
    """Makes targets that are balanced within each block.

    Args:
        balance: Turns the logits (N, S) of a block into probabilities (N, S).
        logits: The teacher's logits, (N, K).
        partition: Indices of P blocks of S prototypes, (P, S).

    Returns:
        Targets (N, K). In every block each row sums to 1.
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
    """CARP's loss: consistency of the views within each block, and even use of the block's prototypes.

    Let p_s be the student's softmax within a block for view s, q_t the targets there for view t,
    renormalised, and p the mean of both over batch, views and ranks. Then, in float32,

        loss = mean over t != s, batch and blocks of -log <p_s, q_t>
             + mean over blocks of (log S + sum_k p_k log p_k)

    Args:
        student_logits: Logits of all V views, (V B, K), view after view, or a list of V tensors (B, K).
        targets: Probabilities of the first G views, (G B, K), or a list of G tensors (B, K). The original
            does not balance them.
        views: The number V of views.
        partition: Indices of P blocks of S prototypes, (P, S).
        temperature: The student's. The original uses 1, because its embeddings are not normalised; cosines
            need about .1.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If there is no pair of different views, or if the shapes do not fit.
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
    loss: Tensor = consistency / (teachers * (views - 1)) + spread
    return loss
