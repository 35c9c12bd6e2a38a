"""Photographs in folders: any set in the layout of ImageNet, and iNaturalist 2018."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from torch.utils.data import get_worker_info

from mixhead.worker.config import DataConfig
from mixhead.worker.data.dataset import Dataset, cores
from mixhead.worker.errors import WorkerError

MEAN = (0.485, 0.456, 0.406)  # ImageNet's
STD = (0.229, 0.224, 0.225)
IN_MEMORY = 2 << 30  # largest set that is kept decoded, in bytes


class Photographs:
    """Image files, with the shorter side resized to ``size`` and cropped to the middle.

    A small set is decoded once, when it is first indexed. A large one is decoded image by image each time.
    """

    def __init__(self, paths: list[str], size: int) -> None:
        self.paths = paths
        self.size = size
        self.small = len(paths) * 3 * size * size <= IN_MEMORY

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        return self._decoded[positions] if self.small else self._decode(positions)

    @cached_property
    def _decoded(self) -> np.ndarray:
        return self._decode(range(len(self.paths)))

    def _decode(self, positions: Iterable[int]) -> np.ndarray:
        # A data loader's process is one of several, so it decodes without threads.
        run = map if get_worker_info() is not None else _threads().map
        return np.stack(list(run(lambda i: _photograph(self.paths[i], self.size), positions)))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores())


def load_folder(config: DataConfig, data_dir: Path, size: int, seed: int) -> Dataset:
    """``path/train/CLASS/*`` and ``path/val/CLASS/*``, as torchvision's ImageFolder reads them."""
    from torchvision.datasets import ImageFolder

    root = _root(config, "with train/CLASS/image and val/CLASS/image in it")
    try:
        train, test = ImageFolder(root / "train"), ImageFolder(root / "val")
    except OSError as error:
        raise WorkerError(f"data.path: {str(error).splitlines()[0]}") from error
    if train.classes != test.classes:
        raise WorkerError(f"data.path: {root / 'train'} and {root / 'val'} do not hold the same classes")
    return _dataset(config, train.samples, test.samples, train.classes, size)


def load_inat2018(config: DataConfig, data_dir: Path, size: int, seed: int) -> Dataset:
    """iNaturalist 2018: train2018.json and val2018.json next to the images that they list."""
    root = _root(config, "with train2018.json, val2018.json and train_val2018/ in it")
    train, test = (_inat_split(root, f"{split}2018.json") for split in ("train", "val"))
    classes = 1 + max(label for _, label in [*train, *test])
    return _dataset(config, train, test, [str(c) for c in range(classes)], size)


def _inat_split(root: Path, name: str) -> list[tuple[str, int]]:
    try:
        raw = json.loads((root / name).read_text())
        category = {item["image_id"]: item["category_id"] for item in raw["annotations"]}
        listed = [(str(root / item["file_name"]), category[item["id"]]) for item in raw["images"]]
    except FileNotFoundError as error:
        raise WorkerError(
            f"data.path: {root / name} is missing; download it from iNaturalist's site"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkerError(f"data.path: {root / name} is not a list of iNaturalist's images") from error
    if not listed:
        raise WorkerError(f"data.path: {root / name} lists no images")
    return listed


def _root(config: DataConfig, layout: str) -> Path:
    if config.path is None:
        raise WorkerError(f"data.path is missing: {config.name} needs a folder {layout}")
    root = Path(config.path).expanduser()
    if not root.is_dir():
        raise WorkerError(f"data.path: {root} is not a folder; {config.name} needs one {layout}")
    return root


def _dataset(
    config: DataConfig,
    train: list[tuple[str, int]],
    test: list[tuple[str, int]],
    class_names: list[str],
    size: int,
) -> Dataset:
    (train_images, train_labels), (test_images, test_labels) = _split(train, size), _split(test, size)
    return Dataset(config.name, train_images, train_labels, test_images, test_labels, class_names, MEAN, STD)


def _split(samples: list[tuple[str, int]], size: int) -> tuple[Photographs, np.ndarray]:
    # Shuffled, always in the same way, so that the first n cover all classes.
    shuffled = [samples[i] for i in np.random.default_rng(0).permutation(len(samples))]
    labels = np.array([label for _, label in shuffled], dtype=np.int64)
    return Photographs([path for path, _ in shuffled], size), labels


def _photograph(path: str, size: int) -> np.ndarray:
    from torchvision.datasets.folder import default_loader
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

    try:
        image = default_loader(path)
    except Exception as error:  # Pillow's decoders can raise anything for a damaged file
        raise WorkerError(f"{path} cannot be read as an image: {error}") from error
    pixels: np.ndarray = pil_to_tensor(center_crop(resize(image, size, antialias=True), size)).numpy()
    return pixels
