"""The prototypes in this process."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mixhead.bridge import Targets


class Mirror:
    """The mixture's prototypes (K, D) as the heads of this process see them, a copy for each device and
    dtype. It belongs to no module: nothing that walks over modules (EMA, DDP, `.half()`, deepcopy) meets it.

    A change makes new tensors: an earlier step's graph may still hold the old ones for its backward pass.
    All are made outside of inference mode, whose tensors no backward pass can use.
    """

    @torch.inference_mode(False)
    def __init__(self, rows: np.ndarray | Tensor) -> None:
        """Copies `rows` into this process's memory, unless they lie on the device of a mixture: nobody writes
        to those."""
        if isinstance(rows, np.ndarray):
            rows = torch.tensor(rows, dtype=torch.float32, device="cpu")
        self.rows = rows.detach()
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @torch.inference_mode(False)
    def on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The prototypes there. The tensor is shared: nobody writes to it."""
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())  # as tensors name theirs
        if device == self.rows.device and dtype == self.rows.dtype:
            return self.rows
        if (device, dtype) not in self._copies:
            self._copies[device, dtype] = self.rows.to(device, dtype)
        return self._copies[device, dtype]

    def after(self, answer: Targets) -> Mirror:
        """The mirror once the answer to a step is applied; this one stays as it is."""
        if answer.prototypes is not None:
            return Mirror(answer.prototypes)
        if answer.rows is None or len(answer.rows) == 0:
            return self
        return self._with(answer.rows, answer.indices)

    @torch.inference_mode(False)
    def _with(self, rows: np.ndarray, indices: np.ndarray | None) -> Mirror:
        """With `rows` (R, D) at `indices` (R,); without indices they are all (K, D)."""
        new = torch.from_numpy(rows)
        if indices is None:
            return Mirror(new)
        places = torch.from_numpy(indices).long()
        mirror = Mirror(self.rows.index_copy(0, places, new))
        for (device, dtype), copy in self._copies.items():
            mirror._copies[device, dtype] = copy.index_copy(0, places.to(device), new.to(device, dtype))
        return mirror
