"""Launches runs on a CUDA stream beside the script's own, so that both can work at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


class HostCopy:
    """A tensor that is being copied to this process's memory."""

    def __init__(self, tensor: Tensor, event: torch.cuda.Event | None) -> None:
        self._tensor, self._event = tensor, event

    def wait(self) -> np.ndarray:
        if self._event is not None:
            self._event.synchronize()
        return self._tensor.numpy()


class InTurn:
    """On a CPU: everything runs when it is called."""

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Operations launched inside belong to a run."""
        yield

    def hand_over(self, tensor: Tensor) -> None:
        """Lets the next runs read a tensor that the script's stream has written."""

    def hand_back(self, *tensors: Tensor) -> None:
        """Lets the script's stream read what the runs so far have written. Does not block the host."""

    def copy_to_host(self, tensor: Tensor) -> HostCopy:
        return HostCopy(tensor, None)


class Beside(InTurn):
    """On CUDA: runs have a stream of their own.

    A tensor's memory belongs to the stream on which it was created. If the other stream uses it too, the
    allocator has to know; otherwise it would reuse the memory while that stream still reads it.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._done = torch.cuda.Event()

    @contextmanager
    def launching(self) -> Iterator[None]:
        with torch.cuda.stream(self._stream):
            try:
                yield
            finally:
                self._done.record(self._stream)

    def hand_over(self, tensor: Tensor) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(tensor.device))
        tensor.record_stream(self._stream)

    def hand_back(self, *tensors: Tensor) -> None:
        current = torch.cuda.current_stream(self._stream.device)
        current.wait_event(self._done)
        for tensor in tensors:
            tensor.record_stream(current)

    def copy_to_host(self, tensor: Tensor) -> HostCopy:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        event = torch.cuda.Event()
        with torch.cuda.stream(self._stream):
            host.copy_(tensor, non_blocking=True)
            event.record(self._stream)
        return HostCopy(host, event)


def stream_of(device: torch.device) -> InTurn:
    return Beside(device) if device.type == "cuda" else InTurn()
