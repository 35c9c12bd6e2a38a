"""The rows that were sent last, for a script that asks for their targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mixhead.bridge import Targets


@dataclass
class Sent:
    """The rows of a step, and the plugin's answer to them."""

    batch: Tensor  # (N, D)
    own: slice  # this rank's part of the batch
    padding: Tensor  # (m,) bool: which of this rank's rows are padding and were not sent
    answer: Targets | None = None  # None: it has not come, or the plugin refused the rows

    def fill(self, made: Tensor | float, components: int, device: torch.device) -> Tensor:
        """Targets (m, K) of this rank's rows: `made`, of the batch (N, K) or one number; 0 for padding."""
        whole = torch.zeros(len(self.padding), components, device=device)
        whole[~self.padding] = made[self.own].to(device) if isinstance(made, Tensor) else made
        return whole
