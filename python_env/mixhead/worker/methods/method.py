"""What a method of training is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mixhead.worker.config import Config
from mixhead.worker.methods.batch import Batch


@dataclass(frozen=True)
class Method:
    """A method of training: what distinguishes it from the others in a worker.

    ``loss`` makes a scalar from all that one step compares. A method with a ``mask`` hides patches from the
    student: (configuration, (rows, columns) of patches, step) -> which, (G B, rows, columns) bool, for the
    global views of all ranks.
    """

    loss: Callable[[Batch], Tensor]
    mask: Callable[[Config, tuple[int, int], int], Tensor] | None = None
