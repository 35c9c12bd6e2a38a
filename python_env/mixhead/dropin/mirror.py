"""The prototypes in this process."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Mirror:
    """The mixture's prototypes (K, D) as the heads of this process see them, a copy for each device and
    dtype. It belongs to no module: nothing that walks over modules (EMA, DDP, `.half()`, deepcopy) meets it.

    A change makes new tensors: an earlier step's graph may still hold the old ones for its backward pass.
    All are made outside of inference mode, whose tensors no backward pass can use.
    """

    @torch.inference_mode(False)
    def __init__(self, rows: np.ndarray | Tensor) -> None:
        self.rows = torch.as_tensor(rows, dtype=torch.float32, device="cpu").detach().clone()
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @torch.inference_mode(False)
    def on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The prototypes there. The tensor is shared: nobody writes to it."""
        if device.type == "cpu" and dtype == torch.float32:
            return self.rows
        if (device, dtype) not in self._copies:
            self._copies[device, dtype] = self.rows.to(device, dtype)
        return self._copies[device, dtype]

    @torch.inference_mode(False)
    def update(self, rows: np.ndarray | None, indices: np.ndarray | None) -> None:
        """Takes over `rows` (R, D) at `indices` (R,); without indices all of them (K, D); None: nothing."""
        if rows is None or len(rows) == 0:
            return
        if indices is None:
            self.rows = torch.from_numpy(rows)
            self._copies.clear()
            return
        new, places = torch.from_numpy(rows), torch.from_numpy(indices).long()
        self.rows = self.rows.index_copy(0, places, new)
        for (device, dtype), copy in self._copies.items():
            self._copies[device, dtype] = copy.index_copy(0, places.to(device), new.to(device, dtype))
