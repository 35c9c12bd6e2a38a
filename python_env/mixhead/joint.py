"""Learned prototypes: a linear layer whose rows are normalised."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.checkpoint.names import plain_name
from mixhead.cosines import cosine_logits

_NEWER_NAMES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


class JointPrototypes(nn.Module):
    """`nn.utils.weight_norm(nn.Linear(dim, components, bias=False))`: (..., dim) -> (..., components).

    It starts with g = 1 and gives the same bits, but works without weight_norm's hooks, which break
    `copy.deepcopy` and `torch.compile`."""

    def __init__(self, dim: int, components: int, train_norms: bool) -> None:
        super().__init__()
        start = nn.Linear(dim, components, bias=False).weight.detach()
        self.weight_g = nn.Parameter(torch.ones(components, 1), requires_grad=train_norms)
        self.weight_v = nn.Parameter(start)

    @property
    def weight(self) -> Tensor:
        """The normalised rows, (components, dim)."""
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    def forward(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        take_other_names(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class CosinePrototypes(JointPrototypes):
    """The same layer for unit rows (N, dim): -> cosines (N, components), float32 even under autocast.

    It divides by the norms in another order than torch does. The two differ in the last bit, and recorded
    runs depend on it.
    """

    def __init__(self, dim: int, components: int) -> None:
        super().__init__(dim, components, train_norms=False)

    @property
    def weight(self) -> Tensor:
        lengths: Tensor = self.weight_v.norm(dim=1, keepdim=True)
        return self.weight_v * (self.weight_g / lengths)

    def forward(self, rows: Tensor) -> Tensor:
        return cosine_logits(rows, self.weight)


def take_other_names(state_dict: dict[str, Any], prefix: str) -> None:
    """Renames a last layer's tensors in a state dict to the names used here.

    `nn.utils.parametrizations.weight_norm` has other names for g and v, and wrappers add prefixes."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        plain = plain_name(key.removeprefix(prefix))
        name = _NEWER_NAMES.get(plain, plain)
        if prefix + name != key:
            state_dict[prefix + name] = state_dict.pop(key)
