"""The interface of a method of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mixhead.worker.config import Config
from mixhead.worker.methods.batch import Batch


@dataclass(frozen=True)
class Method:
    """A method of training.

    Attributes:
        loss: Computes the loss of a step, a scalar.
        mask: Draws the patches that are masked for the student: (configuration, (rows, columns) of a view's
            patches, step) -> (G B, rows, columns) bool, for the global views of all ranks. None: no patches
            are masked.
    """

    loss: Callable[[Batch], Tensor]
    mask: Callable[[Config, tuple[int, int], int], Tensor] | None = None
