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
from mixhead.worker.data.dataset import Images, Selected
from mixhead.worker.network import Network
from mixhead.worker.ranks import ALONE, Ranks

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


def freeze(
    network: Network, dataset: Dataset, size: int, device: torch.device, ranks: Ranks = ALONE
) -> Frozen | None:
    """Both halves of a data set, at ``size`` pixels. One pass: every measure of a step can share it.

    Each of the ranks, which call it together, embeds its part, by rank 0's network. None but in rank 0.
    """
    ranks.as_first([*network.buffers()])
    halves = (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    )
    with evaluating(network):
        train, test = (_embed_together(network, *half, dataset, size, device, ranks) for half in halves)
    return None if train is None or test is None else Frozen(*train, *test)


def _embed_together(
    network: Network,
    images: Images,
    labels: np.ndarray,
    dataset: Dataset,
    size: int,
    device: torch.device,
    ranks: Ranks,
) -> tuple[Labelled, Tensor] | None:
    """As ``embed``, each rank whole blocks of the images; None but in rank 0."""
    parts = [ranks.part_of(rank, len(images), BLOCK) for rank in range(ranks.world)]
    positions = np.arange(len(images))[parts[ranks.rank]]
    own, own_h = embed(network, Selected(images, positions), labels[positions], dataset, size, device)
    counts = [part.stop - part.start for part in parts]
    x, h = (ranks.gather_at_first(rows, counts) for rows in (own.x, own_h))
    if x is None or h is None:
        return None
    return Labelled(x, torch.from_numpy(np.array(labels)).to(device)), h


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
    network: Network,
    images: Images,
    labels: np.ndarray,
    dataset: Dataset,
    size: int,
    device: torch.device,
) -> tuple[Labelled, Tensor]:
    """Features and unit rows (N, D) of un-augmented images, by a network in evaluation mode."""
    features = [torch.empty(0, network.width, device=device)]
    rows = [torch.empty(0, network.head.dim, device=device)]
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
