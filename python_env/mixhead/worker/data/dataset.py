"""The common form of all data sets, and helpers to cut, split and cache them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mixhead.worker.errors import WorkerError


class Images(Protocol):
    """uint8 images (N, 3, H, W), indexed by an array of positions. May be decoded on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Dataset:
    """Training and test images with labels, int64 in [0, classes).

    ``mean`` and ``std`` are those of the channels, with pixels in [0, 1].
    """

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    class_names: list[str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def counts(self) -> tuple[list[int], list[int]]:
        """The number of images of each class in the training set and in the test set."""
        classes = len(self.class_names)
        train, test = (np.bincount(y, minlength=classes) for y in (self.train_labels, self.test_labels))
        return train.tolist(), test.tolist()


@dataclass(frozen=True)
class Selected:
    """A selection of another set's images, without copying them."""

    images: Images
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        return self.images[self.positions[positions]]


def in_memory(images: Images) -> bool:
    """Whether indexing the images copies them, instead of decoding files."""
    if isinstance(images, Selected):
        return in_memory(images.images)
    return isinstance(images, np.ndarray) or getattr(images, "small", False)


def cores() -> int:
    """The number of cores that this worker may use: OMP_NUM_THREADS, which the launcher sets, or all."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def first(dataset: Dataset, train: int | str, test: int | str) -> Dataset:
    """Cuts a set to its first ``train`` and ``test`` images; "all" keeps all of them."""

    def cut(images: Images, labels: np.ndarray, n: int | str) -> tuple[Images, np.ndarray]:
        if isinstance(n, str) or n >= len(labels):
            return images, labels
        return Selected(images, np.arange(n)), labels[:n]

    train_images, train_labels = cut(dataset.train_images, dataset.train_labels, train)
    test_images, test_labels = cut(dataset.test_images, dataset.test_labels, test)
    return dataclasses.replace(
        dataset,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def hold_out(dataset: Dataset, train: int | str, count: int) -> Dataset:
    """Replaces the test images by the ``count`` training images that follow the first ``train``.

    Raises WorkerError if there are fewer; after "all" there are none.
    """
    size = len(dataset.train_labels)
    start = size if isinstance(train, str) else train
    if not 0 <= start <= size - count:
        raise WorkerError(
            f"data.heldOut is {count} and data.train is {train}, but {dataset.name} has {size} training "
            f"images; allowed: at most {size} together"
        )
    positions = np.arange(start, start + count)
    return dataclasses.replace(
        dataset,
        test_images=Selected(dataset.train_images, positions),
        test_labels=dataset.train_labels[positions],
    )


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a .npy file atomically: several workers may write it at the same time."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
