"""CIFAR-10 for a machine that cannot fetch it: some of its images, as the files that the worker reads.

``python bench/gpu_data.py pack FROM TO TRAIN TEST`` takes the first so many images along, as two PNG files;
``python bench/gpu_data.py unpack FROM TO`` makes a data folder of them, in which the other images are black.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("train_lables.json", "test_lables.json")
SIZES = {"train": 50_000, "test": 10_000}


def pack(source: Path, target: Path, train: int, test: int) -> None:
    """A PNG has a row for each image, as those of the npm package do."""
    target.mkdir(parents=True, exist_ok=True)
    for name, file, count in (("train", "data_batch_1.png", train), ("test", "test_batch.png", test)):
        with Image.open(source / file) as picture:
            rows = np.asarray(picture.convert("RGB"))[:count]
        Image.fromarray(rows).save(target / f"{name}.png", optimize=True)
    for name in LABELS:
        shutil.copy(source / name, target)


def unpack(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, count in SIZES.items():
        with Image.open(source / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        shape = (count, 3, 32, 32)
        images = np.lib.format.open_memmap(target / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape)
        images[: len(pixels)] = pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
        images.flush()
    for name in LABELS:
        shutil.copy(source / name, target)


if __name__ == "__main__":
    command, source, target, *counts = sys.argv[1:]
    if command == "pack":
        pack(Path(source), Path(target), *map(int, counts))
    else:
        unpack(Path(source), Path(target))
