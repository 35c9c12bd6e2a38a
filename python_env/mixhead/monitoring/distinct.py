"""Which prototypes of those that are used point to different places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.dropin.prototypes import Prototypes

_BLOCK = 1024  # rows


def distinct(prototypes: Tensor, epsilon: float) -> int:
    """How many of prototypes (P, D), of any length, a walk in index order keeps: each one that is kept covers
    those after it at a cosine distance below `epsilon`, and what is covered is not kept."""
    rows = F.normalize(prototypes.detach().cpu().double(), dim=1)
    covered = torch.zeros(len(rows), dtype=torch.bool)
    kept = 0
    for start in range(0, len(rows), _BLOCK):
        near = 1 - rows[start : start + _BLOCK] @ rows.T < epsilon
        for place, reached in enumerate(near, start):
            if not covered[place]:
                kept += 1
                covered |= reached
    return kept


def last_layer_of(head: nn.Module, components: int) -> Tensor | None:
    """The prototypes (components, D) that a head's logits come from; None where no layer of it has so many
    rows and all of them here. `last_layer`, as DINO's heads call it, comes before the last one of that
    shape."""
    for layer in [getattr(head, "last_layer", None), *reversed(list(head.modules()))]:
        if isinstance(layer, nn.Module) and _is_whole(layer):
            weight = getattr(layer, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 2 and len(weight) == components:
                return weight
    return None


def _is_whole(layer: nn.Module) -> bool:
    """Whether its weight is a mixture's, or made of parameters of which no part is on another rank."""
    held = list(layer.parameters(recurse=False))
    sharded = any(hasattr(each, "full_tensor") or each.untyped_storage().size() == 0 for each in held)
    return isinstance(layer, Prototypes) or (held != [] and not sharded)
