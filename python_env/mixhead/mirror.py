"""The prototypes in this process."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Answer(Protocol):
    """The prototypes in the plugin's answer to a step, as `mixhead.bridge.Targets` holds them."""

    @property
    def rows(self) -> np.ndarray | None:
        """Prototypes that have changed, (R, D) float32; None if none has."""

    @property
    def indices(self) -> np.ndarray | None:
        """Which they are, (R,) int32; None if `rows` are all K."""

    @property
    def prototypes(self) -> Tensor | None:
        """All prototypes (K, D), if they are on this process's device."""


class Mirror:
    """The mixture's prototypes (K, D) as this process sees them, one copy per device and dtype.

    It belongs to no module, so code that walks over modules (EMA, DDP, `.half()`, deepcopy) leaves it alone.
    A change creates new tensors, because the graph of an earlier step may still hold the old ones for its
    backward pass. All tensors are created outside inference mode, since a backward pass cannot use tensors
    from inside.
    """

    @torch.inference_mode(False)
    def __init__(self, rows: np.ndarray | Tensor) -> None:
        """Copies `rows` (K, D) if they are a NumPy array. A tensor is not copied: do not write to it."""
        if isinstance(rows, np.ndarray):
            rows = torch.tensor(rows, dtype=torch.float32, device="cpu")
        self.rows = rows.detach()
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @torch.inference_mode(False)
    def on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The prototypes (K, D) on a device, in a dtype. The tensor is shared; do not write to it."""
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())  # tensors' devices have an index
        if device == self.rows.device and dtype == self.rows.dtype:
            return self.rows
        if (device, dtype) not in self._copies:
            self._copies[device, dtype] = self.rows.to(device, dtype)
        return self._copies[device, dtype]

    def after(self, answer: Answer) -> Mirror:
        """Returns the mirror after the answer to a step. This one stays as it is.

        The bridge has checked that the rows fit.
        """
        whole = self if answer.prototypes is None else Mirror(answer.prototypes)
        if answer.rows is None or len(answer.rows) == 0:
            return whole
        return whole._with(answer.rows, answer.indices)

    @torch.inference_mode(False)
    def _with(self, rows: np.ndarray, indices: np.ndarray | None) -> Mirror:
        """Returns a mirror with `rows` (R, D) at `indices` (R,), or with `rows` (K, D) if there are none."""
        new = torch.from_numpy(rows).to(self.rows.device)
        if indices is None:
            return Mirror(new)
        places = torch.from_numpy(indices).to(self.rows.device, torch.long)
        mirror = Mirror(self.rows.index_copy(0, places, new))
        for (device, dtype), copy in self._copies.items():
            mirror._copies[device, dtype] = copy.index_copy(0, places.to(device), new.to(device, dtype))
        return mirror
