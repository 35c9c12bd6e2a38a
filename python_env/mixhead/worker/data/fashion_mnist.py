"""Fashion-MNIST from its IDX files, as in Debian's package dataset-fashion-mnist."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from mixhead.worker.config import DataConfig
from mixhead.worker.data.dataset import Dataset, hold_out
from mixhead.worker.errors import WorkerError

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
MEAN = (0.2190,) * 3  # of the images padded to 32 x 32
STD = (0.3318,) * 3


def load_fashion_mnist(config: DataConfig, data_dir: Path, size: int, seed: int) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images, padded to 32 x 32, grey in three channels."""
    folder = data_dir / "fashion-mnist"
    dataset = Dataset(
        name=config.name,
        train_images=_images(folder / "train-images-idx3-ubyte"),
        train_labels=_idx(folder / "train-labels-idx1-ubyte", 1).astype(np.int64),
        test_images=_images(folder / "t10k-images-idx3-ubyte"),
        test_labels=_idx(folder / "t10k-labels-idx1-ubyte", 1).astype(np.int64),
        class_names=CLASSES,
        mean=MEAN,
        std=STD,
    )
    return dataset if config.held_out is None else hold_out(dataset, config.train, config.held_out)


def _images(path: Path) -> np.ndarray:
    grey = np.pad(_idx(path, 3), ((0, 0), (2, 2), (2, 2)))
    return np.repeat(grey[:, None], 3, axis=1)


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads an IDX file of bytes, plain or .gz: magic 0 0 8 ndim, sizes as big-endian int32, then data."""
    packed = path.with_name(path.name + ".gz")
    if not path.exists() and not packed.exists():
        raise WorkerError(
            f"Fashion-MNIST is not here: {path} is missing; Debian's package dataset-fashion-mnist has it "
            f"in /usr/share/datasets/fashion-mnist: copy or link it there"
        )
    try:
        raw = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise WorkerError(f"{packed} is not a whole gzip file") from error
    start = 4 + 4 * dimensions
    shape = np.frombuffer(raw, ">i4", dimensions, 4).tolist() if len(raw) >= start else []
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) != start + int(np.prod(shape)):
        raise WorkerError(f"{path} is not an IDX file of bytes in {dimensions} dimensions")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
