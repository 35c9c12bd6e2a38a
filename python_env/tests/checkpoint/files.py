"""Small checkpoints: what the tests of this folder write and read."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

K, D = 6, 4


def rows(seed: int = 1, number: int = K) -> Tensor:
    return torch.randn(number, D, generator=torch.Generator().manual_seed(seed))


def saved(tmp_path: Path, content: object, name: str = "checkpoint.pth", **options: object) -> Path:
    torch.save(content, tmp_path / name, **options)
    return tmp_path / name


# What a checkpoint holds beside its prototypes: a block of the encoder, a layer of the projector with a bias.
DISTRACTING = {"backbone.blocks.0.attn.qkv.weight": torch.ones(12, 4), "head.mlp.0.weight": torch.ones(8, 4)}


class Ran:
    """What a pickle runs as it is loaded, unless nothing in it is."""

    def __init__(self, function: Callable[..., object], *given: object) -> None:
        self._call = function, given

    def __reduce__(self) -> tuple:
        return self._call
