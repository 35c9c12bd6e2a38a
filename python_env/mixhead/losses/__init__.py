"""Losses of self-supervised methods.

Each accepts ready targets: the plugin's (`mixhead.targets()`), or those that `targets.py` makes from the
teacher's logits.
"""

from mixhead.losses.carp import carp_loss, fixed_partition, random_partition, targets_in_blocks
from mixhead.losses.dino import SinkhornDINOLoss, dino_loss
from mixhead.losses.ibot import ibot_patch_loss
from mixhead.losses.koleo import koleo_loss
from mixhead.losses.swav import swav_loss
from mixhead.losses.targets import Center, Sinkhorn, sinkhorn_targets, softmax_targets

__all__ = [
    "Center",
    "Sinkhorn",
    "SinkhornDINOLoss",
    "carp_loss",
    "dino_loss",
    "fixed_partition",
    "ibot_patch_loss",
    "koleo_loss",
    "random_partition",
    "sinkhorn_targets",
    "softmax_targets",
    "swav_loss",
    "targets_in_blocks",
]
