"""CARP: views agree within the blocks of a partition of the prototypes."""

from __future__ import annotations

from torch import Tensor

from mixhead.losses import carp_loss, fixed_partition, random_partition
from mixhead.worker.errors import WorkerError
from mixhead.worker.methods.batch import Batch
from mixhead.worker.randomness import generator


def loss(batch: Batch) -> Tensor:
    partition = _partition(batch)
    in_blocks = batch.config.carp.balance == "block"
    targets = batch.targets_in(partition) if in_blocks else batch.targets()
    return carp_loss(batch.logits(), targets, batch.views, partition, batch.temperature)


def _partition(batch: Batch) -> Tensor:
    """Indices (P, S) of P blocks of S prototypes."""
    components, block = len(batch.prototypes), int(batch.clock.get("block", 0))
    try:
        if batch.config.carp.partition == "fixed":
            return fixed_partition(components, block)
        random = generator(batch.config.seed, "partition", batch.step)
        return random_partition(components, block, random)
    except ValueError as error:
        raise WorkerError(f"method carp: {error}") from error
