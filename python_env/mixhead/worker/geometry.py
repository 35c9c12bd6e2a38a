"""Alignment and uniformity of embeddings on the sphere (Wang and Isola 2020, with alpha = t = 2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mixhead.worker.augment import Crop, augment
from mixhead.worker.data.dataset import Images
from mixhead.worker.network import Network
from mixhead.worker.randomness import generator

BLOCK = 256


@torch.no_grad()
def geometry(
    network: Network, images: Images, crop: Crop, mean: Tensor, std: Tensor, seed: int
) -> dict[str, float]:
    """``alignment`` and ``uniformity`` of a network in evaluation mode, over two views of each image.

    ``crop`` has a count of 2. The views are the same at every call, so that changes show the network alone.
    """
    halves = []
    for start in range(0, len(images), BLOCK):
        positions = np.arange(start, min(start + BLOCK, len(images)))
        pixels = torch.from_numpy(np.array(images[positions])).to(mean.device)
        views = augment(pixels, crop, mean, std, generator(seed, "geometry", start))
        halves.append(network.head.embed(network.encoder(views)).float().chunk(2))
    a, b = (torch.cat(half) for half in zip(*halves, strict=True))
    return {
        "alignment": alignment(a, b).item(),
        "uniformity": (uniformity(a).item() + uniformity(b).item()) / 2,
    }


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of unit rows (N, D) to those of the other views, in [0, 4]; 0 if they agree."""
    return (a - b).square().sum(dim=1).mean()


def uniformity(rows: Tensor) -> Tensor:
    """log of the mean of exp(-2 d^2) over all pairs of unit rows (N, D) at distance d.

    0 if all rows are equal; near -4 if many rows are spread evenly over many dimensions. NaN for fewer than
    two rows.
    """
    return torch.pdist(rows).square().mul(-2).exp().mean().log()
