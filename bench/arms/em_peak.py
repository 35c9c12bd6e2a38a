"""The peak memory of an EM step, above the memory that the mixture holds between steps."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import em
import mixhead
import torch
import torch.nn.functional as F
from rounds import WARM_UP, say, synchronise
from torch import nn

MB = 1e6


@dataclass(frozen=True)
class Options:
    rows: int
    dim: int
    components: int
    device: str
    attach: dict[str, Any] = field(default_factory=dict)  # empty: the same step in PyTorch


def peak_above(step: Callable[[], None], device: str) -> float:
    """The peak of a step in bytes: on CUDA of tensors, on the CPU of the process."""
    synchronise(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        synchronise(device)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _of_process("VmRSS")
    step()
    return _of_process("VmHWM") - before


def _of_process(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def main(options: Options) -> None:
    h = F.normalize(torch.randn(options.rows, options.dim, device=options.device), dim=1)
    if options.attach:
        mixhead.attach(config=options.attach)
        embed = mixhead.teacher(nn.Identity())

        def step() -> None:
            """Takes a whole step: the rows are sent, and the next call waits until it is done."""
            embed(h)
            mixhead.step()
            embed(h[:0])

    else:
        mixture = em.Shared(options.components, options.dim, options.device)

        def step() -> None:
            mixture.step(h)

    for _ in range(WARM_UP):
        step()
    say({})
    for _ in sys.stdin:
        say({"MB": peak_above(step, options.device) / MB})


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
