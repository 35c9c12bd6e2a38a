"""The rows of one teacher call."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from mixhead.dropin.members import Member


class Rows:
    """The unit rows (n, D) of one call, flattened and copied. Padding does not feed the mixture.

    rows: (..., D). padding: (...) bool, on the rows' device, or None. caller: the layer that was called, if
    its role is still unknown.
    """

    def __init__(self, rows: Tensor, padding: Tensor | None, caller: Member | None) -> None:
        self._rows = rows.detach().reshape(-1, rows.shape[-1]).clone()
        self._caller = None if caller is None else weakref.ref(caller)
        self._arrived: torch.cuda.Event | None = None
        self._padding = None if padding is None else padding.reshape(-1)
        if padding is not None and padding.is_cuda:
            # Reading from a GPU waits for all its work. By the time a step is sent, this copy has arrived.
            self._padding = torch.empty(padding.numel(), dtype=torch.bool, pin_memory=True, device="cpu")
            self._padding.copy_(padding.reshape(-1), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def __len__(self) -> int:
        """The number of rows, padding included."""
        return len(self._rows)

    @property
    def dim(self) -> int:
        return self._rows.shape[1]

    @property
    def caller(self) -> Member | None:
        return None if self._caller is None else self._caller()

    def padding(self) -> Tensor:
        """(n,) bool, on the CPU."""
        if self._padding is None:
            return torch.zeros(len(self), dtype=torch.bool, device="cpu")
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._padding

    def real(self) -> Tensor:
        """The rows that are not padding, (m, D) with m <= n, float32."""
        padding = self.padding()
        if not padding.any():
            return self._rows.float()
        kept = (~padding).nonzero().squeeze(1).to(self._rows.device, non_blocking=True)
        return self._rows.index_select(0, kept).float()
