"""`equal.py A.pt B.pt`: whether two files of torch.save hold the same, bit for bit; prints where they do not.

Their bytes may differ all the same: a pickle tells strings that are one object from strings that are equal.
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch


def differences(a: Any, b: Any, path: str) -> Iterator[str]:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or not torch.equal(a, b):
            yield path
    elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            yield from differences(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    elif a != b:
        yield path


first, second = (torch.load(path, weights_only=True) for path in sys.argv[1:])
print("\n".join(differences(first, second, "")), end="")
