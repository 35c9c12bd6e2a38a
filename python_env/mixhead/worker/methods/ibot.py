"""iBOT: DINO between views; and within a global view, the student predicts the targets of masked patches."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from mixhead.losses import dino_loss, ibot_patch_loss
from mixhead.worker.config import Config
from mixhead.worker.errors import WorkerError
from mixhead.worker.methods.batch import Batch
from mixhead.worker.randomness import seed_of

MASKED_VIEWS = 0.5  # share of the global views that have masked patches
MASKED_PATCHES = (0.1, 0.5)  # range of the share of masked patches in such a view
BLOCK = 4  # least number of patches in a block


def loss(batch: Batch) -> Tensor:
    """The sum of both losses. They share the head and the prototypes, as iBOT does by default.

    The targets of views and patches are balanced together.
    """
    assert batch.mask is not None
    hidden = int(batch.mask.sum())
    logits, targets = batch.logits(), batch.targets()
    of_views, of_patches = len(logits) - hidden, len(targets) - hidden
    between = dino_loss(logits[:of_views], targets[:of_patches], batch.views, batch.temperature)
    return between + ibot_patch_loss(logits[of_views:], targets[of_patches:], batch.mask, batch.temperature)


def draw_mask(config: Config, grid: tuple[int, int], step: int) -> Tensor:
    """Draws the patches to mask in a step's global views of all ranks, in blocks.

    Args:
        config: The run's configuration.
        grid: The patches of a view, as (rows, columns).
        step: The step, from 0.

    Returns:
        Whether each patch is masked, (G B, rows, columns) bool.

    Raises:
        WorkerError: If the grid is smaller than 4 x 4.
    """
    from lightly.models.utils import random_block_mask

    count = config.train.batch * config.views.global_
    patches = grid[0] * grid[1]
    if min(grid) < 4:
        raise WorkerError(
            f"method ibot masks blocks of patches, but a view of {config.views.global_size} x "
            f"{config.views.global_size} pixels has only {grid[0]} x {grid[1]} patches; "
            "allowed: at least 4 x 4"
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
