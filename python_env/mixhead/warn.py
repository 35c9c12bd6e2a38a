"""Warnings that point at the user's own line."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from pathlib import Path

import torch

#: Code that stands between a script and mixhead. `skip_file_prefixes` would do the same from Python 3.12 on.
_BETWEEN = (
    f"{Path(__file__).parent}/",
    f"{Path(torch.__file__).parent}/",
    contextlib.__file__,
    functools.__file__,
)


def warn(sentence: str) -> None:
    """Warns, with the place of the first caller that is neither mixhead nor torch.

    Without such a caller, as in a thread of torch's own, the place is that of the outermost call.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, stacklevel=level)
