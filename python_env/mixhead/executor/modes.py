"""The state of torch in which programs run, whatever the user's script has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_IN_FULL = ("ieee", "none")


@contextmanager
def plain_torch(device: torch.device) -> Iterator[None]:
    """No gradients, no autocast, no inference mode, and float32 products in full precision.

    What the script had set holds again afterwards.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        # Tensors that are made in inference mode could not be saved for anybody's backward pass.
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
    """Products of float32 in float32. torch has two interfaces for this, and refuses to read what was set
    through the other one; so what is in full precision already is left alone."""
    backends = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
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
