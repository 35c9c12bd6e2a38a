"""Features and embeddings of a data set's images, not augmented, from a frozen network."""

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
    """Features (N, F), float32, and their labels (N,), int64 from 0."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device) -> Labelled:
        return Labelled(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Frozen:
    """Features with labels, and embeddings ``h`` (N, D) of unit length, of all training and test images."""

    train: Labelled
    train_h: Tensor
    test: Labelled
    test_h: Tensor


def freeze(
    network: Network, dataset: Dataset, size: int, device: torch.device, ranks: Ranks = ALONE
) -> Frozen | None:
    """Embeds a data set's training and test images in one pass, whose result all measurements share.

    All ranks call this together. Each embeds a part of the images with rank 0's network.

    Args:
        network: The network, whose mode is restored.
        dataset: The data set.
        size: The side of the images in pixels.
        device: The network's device.
        ranks: The ranks.

    Returns:
        Features and embeddings in rank 0; None in the others.
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
    """As ``embed``, but each rank embeds whole blocks of the images. None in all ranks but rank 0."""
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
    """Puts the network in evaluation mode, and in training mode afterwards."""
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
    """Features with labels, and unit rows (N, D), of images, from a network in evaluation mode."""
    features = [torch.empty(0, network.width, device=device)]
    rows = [torch.empty(0, network.head.dim, device=device)]
    for pixels in unaugmented(images, dataset, size, device):
        x = network.encoder(pixels)
        features.append(x.float())
        rows.append(network.head.embed(x))
    return Labelled(torch.cat(features), torch.from_numpy(np.array(labels)).to(device)), torch.cat(rows)


def unaugmented(images: Images, dataset: Dataset, size: int, device: torch.device) -> Iterator[Tensor]:
    """Yields the images in order, as normalised blocks (n, 3, size, size)."""
    mean, std = torch.tensor(dataset.mean, device=device), torch.tensor(dataset.std, device=device)
    for start in range(0, len(images), BLOCK):
        positions = np.arange(start, min(start + BLOCK, len(images)))
        pixels = normalise(torch.from_numpy(np.array(images[positions])).to(device), mean, std)
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        yield pixels
