"""Data sets by name, as uint8 images of one size with labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mixhead.worker.config import DataConfig
from mixhead.worker.data.cifar10 import load_cifar10, load_cifar10_lt
from mixhead.worker.data.dataset import Dataset, first
from mixhead.worker.data.fashion_mnist import load_fashion_mnist
from mixhead.worker.data.folder import load_folder, load_inat2018
from mixhead.worker.errors import WorkerError

__all__ = ["Dataset", "load"]

Loader = Callable[[DataConfig, Path, int, int], Dataset]

_LOADERS: dict[str, Loader] = {
    "cifar10": load_cifar10,
    "cifar10-lt": load_cifar10_lt,
    "fashion-mnist": load_fashion_mnist,
    "folder": load_folder,
    "inat2018": load_inat2018,
}


def load(config: DataConfig, data_dir: str | Path, size: int = 32, seed: int = 0) -> Dataset:
    """Loads a data set, cut to its first ``train`` and ``test`` images.

    With ``held_out``, the test images are that many training images, which are not trained on.

    Args:
        config: The ``data`` section of the configuration.
        data_dir: The folder of the downloaded data sets.
        size: The side in pixels to which photographs are resized. CIFAR-10 and Fashion-MNIST stay 32 x 32.
        seed: Chooses the images of cifar10-lt.

    Raises:
        WorkerError: If files are missing or damaged; the sentence says how to fix it.
    """
    if config.name not in _LOADERS:
        raise WorkerError(f"data.name: there is no data set {config.name!r}; allowed: {', '.join(_LOADERS)}")
    dataset = _LOADERS[config.name](config, Path(data_dir), size, seed)
    return first(dataset, config.train, config.test)
