"""Frozen features to evaluate: from a file, or computed by an encoder from a data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mixhead.worker.config import Config
from mixhead.worker.data import Dataset, load
from mixhead.worker.data.cifar10 import balanced_references
from mixhead.worker.data.dataset import Images
from mixhead.worker.encoders import build_encoder, check_sizes
from mixhead.worker.errors import WorkerError
from mixhead.worker.frozen import Labelled, unaugmented
from mixhead.worker.weights import load_encoder


@dataclass(frozen=True)
class Features:
    """Features of the training and test images.

    ``balanced``: those of a balanced version of a long-tailed training set; None for other sets.
    """

    train: Labelled
    test: Labelled
    balanced: Labelled | None = None


def progress(text: str) -> None:
    """Prints a line about the progress on standard error. The dots distinguish it from an error."""
    print(f"... {text}", file=sys.stderr, flush=True)


def encoder_features(path: Path, config: Config, data_dir: str, device: torch.device) -> Features:
    """Computes features of the images of ``config.data``, not augmented, by the encoder in ``path``.

    Raises WorkerError if the encoder or the data set cannot be loaded.
    """
    encoder, _ = build_encoder(config.encoder.name)
    load_encoder(encoder, path, config.encoder.name)
    check_sizes(encoder, {config.views.global_size})
    encoder.to(device).to(memory_format=torch.channels_last).eval()

    def of(dataset: Dataset, images: Images, labels: np.ndarray, what: str) -> Labelled:
        blocks, done = [], 0
        for pixels in unaugmented(images, dataset, config.views.global_size, device):
            with torch.no_grad():
                blocks.append(encoder(pixels).float())
            done += len(pixels)
            progress(f"{what}: {done:,} of {len(images):,} images")
        return Labelled(torch.cat(blocks), torch.from_numpy(np.array(labels)).to(device))

    dataset = load(config.data, data_dir, config.views.global_size, config.seed)
    references, balanced = balanced_version(config, data_dir), None
    if references is not None:
        balanced = of(references, references.train_images, references.train_labels, "balanced training set")
    tested = "test set" if config.data.held_out is None else "held-out images"
    return Features(
        of(dataset, dataset.train_images, dataset.train_labels, "training set"),
        of(dataset, dataset.test_images, dataset.test_labels, tested),
        balanced,
    )


def balanced_version(config: Config, data_dir: str) -> Dataset | None:
    """The balanced set from which a long-tailed one was drawn, used as further references; else None."""
    if config.data.name != "cifar10-lt":
        return None
    return load(balanced_references(config.data), data_dir, config.views.global_size, config.seed)


def read_features(path: Path) -> Features:
    """Reads a .npz file of train_x, train_y, test_x, test_y.

    Raises WorkerError, which says what is wrong with the file.
    """
    names = ("train_x", "train_y", "test_x", "test_y")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in names if name in file}
    except FileNotFoundError as error:
        raise WorkerError(f"{path} does not exist") from error
    except Exception as error:  # zipfile, zlib and NumPy can raise anything for a damaged file
        raise WorkerError(f"{path} cannot be read as an .npz file") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise WorkerError(f"{path} has no {', '.join(missing)}")
    train, test = (
        _labelled(path, part, arrays[f"{part}_x"], arrays[f"{part}_y"]) for part in ("train", "test")
    )
    if train.x.shape[1] != test.x.shape[1]:
        raise WorkerError(
            f"{path}: train_x has {train.x.shape[1]} features and test_x has {test.x.shape[1]}; they must be "
            f"the same"
        )
    largest, rows = int(max(train.y.max(), test.y.max())), len(train.y) + len(test.y)
    if largest >= rows:
        raise WorkerError(f"{path}: a label is {largest}; labels number the classes from 0")
    unknown = np.setdiff1d(test.y.numpy(), train.y.numpy())
    if len(unknown):
        raise WorkerError(f"{path}: class {unknown[0]} is in test_y, but not in train_y")
    return Features(train, test)


def _labelled(path: Path, part: str, x: np.ndarray, y: np.ndarray) -> Labelled:
    if x.ndim != 2 or 0 in x.shape or not np.issubdtype(x.dtype, np.floating):
        raise WorkerError(f"{path}: {part}_x must be floats (images, features), it is {x.dtype} {x.shape}")
    if y.shape != (len(x),) or y.dtype.kind not in "iuf":
        raise WorkerError(f"{path}: {part}_y must be {len(x)} labels from 0, it is {y.dtype} {y.shape}")
    wrong = np.flatnonzero((y < 0) | (y != np.floor(y)) | ~np.isfinite(y))
    if len(wrong):
        raise WorkerError(
            f"{path}: row {wrong[0]} of {part}_y is {y[wrong[0]]}; labels are whole numbers from 0"
        )
    with np.errstate(over="ignore"):  # an overflow becomes infinite, and is reported below
        features = x.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1) | ~features.any(axis=1))
    if len(bad):
        raise WorkerError(f"{path}: row {bad[0]} of {part}_x is all zero or not finite in float32")
    return Labelled(torch.from_numpy(features), torch.from_numpy(y.astype(np.int64)))
