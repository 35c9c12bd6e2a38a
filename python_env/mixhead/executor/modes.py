"""Torch's global modes during a run, independent of the user's script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_IN_FULL = ("ieee", "none")


@contextmanager
def plain_torch(device: torch.device) -> Iterator[None]:
    """Sets no gradients, no autocast, no inference mode, and float32 products in full precision.

    Restores the script's settings afterwards.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        # Tensors created in inference mode cannot be saved for a backward pass.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            _full_precision(),
        ):
            yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Computes float32 products in float32.

    torch has two interfaces for this, and each refuses to read a setting made through the other. So settings
    that are already in full precision are left alone."""
    cuda = torch.backends.cuda.matmul
    cpu = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch puts it there at run time
    backends = [cuda, cpu]
    newer = [each for each in backends if hasattr(each, "fp32_precision")]
    before = [each.fp32_precision for each in newer]
    if newer and all(each in _IN_FULL for each in before):
        yield
        return
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:
        legacy = None  # the script has used the newer interface
    try:
        if legacy is not None:
            torch.set_float32_matmul_precision("highest")
        for each in newer:
            each.fp32_precision = "ieee"
        yield
    finally:
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)
        for each, precision in zip(newer, before, strict=True):
            each.fp32_precision = precision
