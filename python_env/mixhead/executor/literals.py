"""The literals of a run, which are numbers on the wire and small tensors in the program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mixhead.executor.program import DTYPES, Spec
from mixhead.executor.run import ExecutorError

_NUMPY = {torch.float32: np.float32, torch.int32: np.int32, torch.bool: np.bool_}


class Literals:
    """Packs a program's literals into one vector per dtype, so that a run needs few copies."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        self._specs = specs
        places: dict[torch.dtype, list[np.ndarray]] = {dtype: [] for dtype in DTYPES.values()}
        self.count = 0
        for spec in specs:
            places[spec.dtype].append(np.arange(self.count, self.count + spec.size))
            self.count += spec.size
        self._places = {dtype: np.concatenate(each) for dtype, each in places.items() if each}

    def pack(self, values: np.ndarray, device: torch.device) -> list[Tensor]:
        """Returns a vector for each dtype that occurs, on the device. Raises ExecutorError if the count is
        wrong."""
        if len(values) != self.count:
            raise ExecutorError("program", f"the program has {self.count} literals, not {len(values)}")
        return [self._vector(values[place], dtype, device) for dtype, place in self._places.items()]

    def _vector(self, values: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
        with np.errstate(invalid="ignore"):  # converting NaN to an integer depends on the machine
            vector = torch.from_numpy(values.astype(_NUMPY[dtype]))
        if device.type == "cpu":
            return vector
        return vector.pin_memory().to(device, non_blocking=True)

    def split(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """The literals in their order, as views of the vectors from `pack`."""
        by_dtype = dict(zip(self._places, vectors, strict=True))
        taken = dict.fromkeys(by_dtype, 0)
        tensors = []
        for dtype, shape in self._specs:
            size = Spec(dtype, shape).size
            start, taken[dtype] = taken[dtype], taken[dtype] + size
            tensors.append(by_dtype[dtype][start : start + size].view(shape))
        return tensors
