"""What a frozen network makes of a data set: features and embeddings of its un-augmented images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mixhead.worker.augment import normalise
from mixhead.worker.data import Dataset
from mixhead.worker.data.dataset import Images
from mixhead.worker.network import Network

BLOCK = 512


@dataclass(frozen=True)
class Labelled:
    """Features (N, F), float32, and their classes (N,), int64 from 0."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device) -> Labelled:
        return Labelled(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Frozen:
    """Of all training and test images: features with their classes, and unit rows ``h`` (N, D)."""

    train: Labelled
    train_h: Tensor
    test: Labelled
    test_h: Tensor


def freeze(network: Network, dataset: Dataset, size: int, device: torch.device) -> Frozen:
    """Both halves of a data set, at ``size`` pixels. One pass: every measure of a step can share it."""
    with evaluating(network):
        train, train_h = embed(network, dataset.train_images, dataset.train_labels, dataset, size, device)
        test, test_h = embed(network, dataset.test_images, dataset.test_labels, dataset, size, device)
    return Frozen(train, train_h, test, test_h)


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """The network in evaluation mode, for as long as it lasts."""
    network.eval()
    try:
        yield
    finally:
        network.train()


@torch.no_grad()
def embed(
    network: Network, images: Images, labels: np.ndarray, dataset: Dataset, size: int, device: torch.device
) -> tuple[Labelled, Tensor]:
    """Features and unit rows (N, D) of un-augmented images, by a network in evaluation mode."""
    features, rows = [], []
    for pixels in unaugmented(images, dataset, size, device):
        x = network.encoder(pixels)
        features.append(x.float())
        rows.append(network.head.embed(x))
    return Labelled(torch.cat(features), torch.from_numpy(np.array(labels)).to(device)), torch.cat(rows)


def unaugmented(images: Images, dataset: Dataset, size: int, device: torch.device) -> Iterator[Tensor]:
    """The images in their order, as normalised blocks (n, 3, size, size)."""
    mean, std = torch.tensor(dataset.mean, device=device), torch.tensor(dataset.std, device=device)
    for start in range(0, len(images), BLOCK):
        positions = np.arange(start, min(start + BLOCK, len(images)))
        pixels = normalise(torch.from_numpy(np.array(images[positions])).to(device), mean, std)
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        yield pixels
