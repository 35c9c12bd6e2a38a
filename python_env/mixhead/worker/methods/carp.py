"""CARP: the views agree within the blocks of a random partition of the prototypes, drawn every step."""

from __future__ import annotations

from torch import Tensor

from mixhead.losses import carp_loss, random_partition
from mixhead.worker.errors import WorkerError
from mixhead.worker.methods.batch import Batch
from mixhead.worker.randomness import generator

BLOCK = 512
LEAST_BLOCKS = 8


def loss(batch: Batch) -> Tensor:
    # Rank 0's on every rank: they part the prototypes alike.
    random = generator(batch.config.seed, "partition", batch.step, 0)
    try:
        partition = random_partition(len(batch.prototypes), block_of(len(batch.prototypes)), random)
    except ValueError as error:
        raise WorkerError(f"method carp: {error}") from error
    return carp_loss(batch.logits(), batch.targets(), batch.views, partition, batch.temperature)


def block_of(components: int) -> int:
    """Prototypes in a block: the paper's 512, or an eighth of them where that is less."""
    return min(BLOCK, components // LEAST_BLOCKS)
