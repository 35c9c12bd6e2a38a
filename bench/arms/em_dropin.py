"""The plugin's EM step through the whole path: this process has the rows, Node sends programs for them."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import mixhead
import torch
import torch.nn.functional as F
from rounds import take_rounds
from torch import nn


@dataclass(frozen=True)
class Options:
    rows: int
    dim: int
    device: str
    attach: dict[str, Any] = field(default_factory=dict)
    seconds: float = 2.0


def main(options: Options) -> None:
    torch.manual_seed(0)
    mixhead.attach(config=options.attach)
    embed = mixhead.teacher(nn.Identity())  # its outputs feed the mixture
    h = F.normalize(torch.randn(options.rows, options.dim, device=options.device), dim=1)

    def step() -> None:
        """Waits for the previous step, applies its answer, and sends the next one."""
        embed(h)
        mixhead.step()

    def rest() -> None:
        time.sleep(0.05 + 2 * mixhead.stats()["wait"])

    take_rounds(step, options.device, options.seconds, rest=rest, profile=True)


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
