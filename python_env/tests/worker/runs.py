"""Small runs for tests: a configuration, a data set of random pictures, a clock."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixhead.losses import sinkhorn_targets
from mixhead.worker.config import Config, parse

COMPONENTS, DIM, BATCH = 24, 8, 8

CONFIG: dict[str, Any] = {
    "seed": 3,
    "device": "cpu",
    "precision": "float32",
    "method": "dino",
    "prototypes": "decoupled",
    "data": {"name": "fashion-mnist", "train": 40, "test": "all", "imbalance": 100},
    "encoder": {"name": "conv-small"},
    "head": {"hidden": 16, "dim": DIM, "norm": "batch"},
    "train": {"steps": 50, "batch": BATCH, "clip": 3},
    "views": {
        "global": 2,
        "local": 1,
        "globalSize": 32,
        "localSize": 16,
        "globalScale": [0.3, 1],
        "localScale": [0.1, 0.4],
    },
    "plugin": {"components": COMPONENTS},
    "targets": {"balance": "sinkhorn"},
    "carp": {"partition": "step", "balance": "all"},
}


def raw_config(**changes: Any) -> dict[str, Any]:
    """The configuration as JSON has it; ``targets={"balance": "none"}`` changes that one key."""
    raw = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) else value
    return raw


def config(**changes: Any) -> Config:
    return parse(Config, raw_config(**changes), "")


def clock(step: int) -> dict[str, float]:
    """Values that differ from step to step."""
    return {
        "lr": 0.003 / (1 + step),
        "weightDecay": 0.04 + 0.01 * step,
        "momentum": 0.9 + 0.005 * step,
        "teacherTemperature": 0.04,
        "studentTemperature": 0.1,
        "freezePrototypes": float(step < 2),
        "block": COMPONENTS // 8,
    }


@dataclass
class Reply:
    scalars: dict[str, float]
    rows: np.ndarray | None = None
    indices: np.ndarray | None = None
    targets: np.ndarray | torch.Tensor | None = None
    prototypes: torch.Tensor | None = None


def start_rows(seed: int = 0) -> np.ndarray:
    rows = torch.randn(COMPONENTS, DIM, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1).numpy()


def reply(step: int, h: torch.Tensor, prototypes: np.ndarray) -> Reply:
    """What a plugin with these prototypes answers: targets, and the rows of step's two components."""
    indices = np.array([step % COMPONENTS, (step + 5) % COMPONENTS], dtype=np.int32)
    targets = sinkhorn_targets(h @ torch.from_numpy(prototypes).T, 0.04).numpy()
    return Reply(clock(step), prototypes[indices], indices, targets)


def write_pictures(data_dir: Path, train: int = 60, test: int = 30) -> None:
    """A data set of random pictures in the files of Fashion-MNIST."""
    folder = data_dir / "fashion-mnist"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        header = np.array([count, 28, 28], ">i4").tobytes()
        pixels = random.integers(0, 256, (count, 28, 28), np.uint8).tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + header + pixels)
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + np.array([count], ">i4").tobytes() + labels
        )
