"""A look at a network in the middle of its training, of which the training feels nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from mixhead.dropin.paused import paused


@contextmanager
def undisturbed(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """`modules` in evaluation mode, without gradients; what their heads see feeds no mixture.

    Afterwards every module's mode and the generators of torch (CPU and `device`), numpy and random are what
    they were. Within, the CPU's generators start from the same seed each time.
    """
    modes = {part: part.training for module in modules for part in module.modules()}
    devices = [device] if device.type == "cuda" else []
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), paused():
            torch.default_generator.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            for part in modes:  # set by hand: a `train()` of somebody's own may do more, or less
                part.training = False
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        random.setstate(python)
        np.random.set_state(arrays)
