"""iBOT: DINO between the views, and within a global view the student predicts its hidden patches."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from mixhead.losses import dino_loss, ibot_patch_loss
from mixhead.worker.config import Config
from mixhead.worker.errors import WorkerError
from mixhead.worker.methods.batch import Batch
from mixhead.worker.randomness import seed_of

MASKED_VIEWS = 0.5  # share of the global views that are masked at all
MASKED_PATCHES = (0.1, 0.5)  # share of the patches of such a view
BLOCK = 4  # patches that a block has at least


def loss(batch: Batch) -> Tensor:
    """The sum of both losses, on one head and one set of prototypes, as iBOT shares them.

    The targets of views and of patches are balanced together.
    """
    assert batch.mask is not None
    hidden = int(batch.mask.sum())
    logits, targets = batch.logits(), batch.targets()
    of_views, of_patches = len(logits) - hidden, len(targets) - hidden
    between = dino_loss(logits[:of_views], targets[:of_patches], batch.views, batch.temperature)
    return between + ibot_patch_loss(logits[of_views:], targets[of_patches:], batch.mask, batch.temperature)


def draw_mask(config: Config, grid: tuple[int, int], step: int) -> Tensor:
    """Which patches of a step's global views, of all ranks, the student does not see, in blocks:
    (G B, rows, columns) bool."""
    from lightly.models.utils import random_block_mask

    count = config.train.batch * config.views.global_
    patches = grid[0] * grid[1]
    if min(grid) < 4:
        raise WorkerError(
            f"method ibot masks blocks of patches, but a view of {config.views.global_size} x "
            f"{config.views.global_size} has only {grid[0]} x {grid[1]} of them; at least 4 x 4 are needed"
        )
    before = random.getstate()
    random.seed(seed_of(config.seed, "mask", step))  # lightly draws from the global generator
    try:
        mask: Tensor = random_block_mask(
            (count, *grid),
            batch_mask_ratio=MASKED_VIEWS,
            min_image_mask_ratio=MASKED_PATCHES[0],
            max_image_mask_ratio=MASKED_PATCHES[1],
            min_num_masks_per_block=min(BLOCK, int(patches * MASKED_PATCHES[0])),
            device=torch.device("cpu"),
        )
        return mask
    finally:
        random.setstate(before)
