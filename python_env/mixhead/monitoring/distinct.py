"""Counts the prototypes that differ from each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.dropin.prototypes import Prototypes

_BLOCK = 1024  # rows


def distinct(prototypes: Tensor, epsilon: float) -> int:
    """Counts the prototypes (P, D), of any length, that remain after removing near-duplicates.

    Goes through them in index order. A prototype that is kept removes all later ones at a cosine distance
    below `epsilon`.
    """
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
    """The prototypes (components, D) behind a head's logits.

    Looks at `last_layer`, as DINO's heads call it, then at the head's other layers, last one first. None if
    no layer has so many rows, or if its rows are sharded over ranks.
    """
    for layer in [getattr(head, "last_layer", None), *reversed(list(head.modules()))]:
        if isinstance(layer, nn.Module) and _is_whole(layer):
            weight = getattr(layer, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 2 and len(weight) == components:
                return weight
    return None


def _is_whole(layer: nn.Module) -> bool:
    """Whether the weight is a mixture's, or made of parameters that this rank holds in full."""
    held = list(layer.parameters(recurse=False))
    sharded = any(hasattr(each, "full_tensor") or each.untyped_storage().size() == 0 for each in held)
    return isinstance(layer, Prototypes) or (held != [] and not sharded)
