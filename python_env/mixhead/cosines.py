"""Cosines of rows with prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_logits(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines (N, K), float32, of unit rows (N, D) with unit prototypes (K, D).

    Computed outside autocast: after division by a temperature of .04, the 8 bits of bfloat16 would be off
    by .1.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return F.linear(rows.float(), prototypes.float())
