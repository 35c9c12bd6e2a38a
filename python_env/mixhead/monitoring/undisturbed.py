"""Evaluates a network in the middle of its training without changing that training."""

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
    """Puts `modules` in evaluation mode, without gradients, and pauses all mixtures.

    Afterwards restores every module's mode and the random generators of torch (CPU and `device`), numpy and
    random. Inside, the CPU's generators start from the same seed each time.
    """
    modes = {part: part.training for module in modules for part in module.modules()}
    devices = [device] if device.type == "cuda" else []
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), paused():
            torch.default_generator.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            for part in modes:  # set directly, because a user's own `train()` may do more or less
                part.training = False
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        random.setstate(python)
        np.random.set_state(arrays)
