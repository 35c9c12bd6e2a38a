"""CARP: the views agree within the blocks of a random partition of the prototypes, drawn every step."""

from __future__ import annotations

from torch import Tensor

from mixhead.losses import carp_loss, random_partition
from mixhead.worker.errors import WorkerError
from mixhead.worker.methods.batch import Batch
from mixhead.worker.randomness import generator


def loss(batch: Batch) -> Tensor:
    # Rank 0's on every rank: they part the prototypes alike.
    random = generator(batch.config.seed, "partition", batch.step, 0)
    try:
        partition = random_partition(len(batch.prototypes), batch.block, random)
    except ValueError as error:
        raise WorkerError(f"method carp: {error}") from error
    return carp_loss(batch.logits(), batch.targets(), batch.views, partition, batch.temperature)
