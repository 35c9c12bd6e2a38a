from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """A tensor of a file, read on demand. ``read`` raises CheckpointError if the file lacks its data."""

    shape: tuple[int, ...]
    floating: bool
    read: Callable[[], Tensor]

    @property
    def is_matrix(self) -> bool:
        return self.floating and len(self.shape) == 2 and 0 not in self.shape
