"""The memory that stays on the device from one step of a head to the next.

Parameters, gradients, the optimizer's moments, the teacher's copy, the mixture.
"""

from __future__ import annotations

import gc
import json
import sys

import torch
from head import HeadStep, Options
from rounds import WARM_UP, say

MB = 1e6
#: A weight, its gradient, AdamW's two moments, and the teacher's.
COPIES_OF_A_PARAMETER = 5


def held_bytes(device: str) -> int:
    """Bytes of all tensors; on the CPU, of those that Python can see, each storage once."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    tensors = [thing for thing in gc.get_objects() if torch.is_tensor(thing)]
    storages = {
        storage.data_ptr(): storage.nbytes() for storage in map(torch.Tensor.untyped_storage, tensors)
    }
    return sum(storages.values())


def main(options: Options) -> None:
    before = held_bytes(options.device)
    step = HeadStep(options)
    for _ in range(WARM_UP):
        step()
    step.features = []
    mlp = COPIES_OF_A_PARAMETER * sum(parameter.nbytes for parameter in step.student.mlp.parameters())
    say({})
    for _ in sys.stdin:
        held = held_bytes(options.device) - before
        say({"MB": held / MB, "prototypesMB": (held - mlp) / MB})


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
