"""What `evaluate` measures of a network during a run: the teacher, frozen, on un-augmented images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mixhead.worker.augment import normalise
from mixhead.worker.data import Dataset
from mixhead.worker.data.dataset import Images
from mixhead.worker.knn import knn_predictions
from mixhead.worker.network import Network
from mixhead.worker.step import State, prototypes, spread

BLOCK = 512
SAMPLE = 512


@dataclass(frozen=True)
class Measurement:
    """``scalars``: knn (k = 20), knn.10 ... knn.200, spread. ``tensors``: wins (K,) int32, sample (n, D),
    labels (n,) int32, and in the joint arm prototypes (K, D)."""

    scalars: dict[str, float]
    tensors: dict[str, np.ndarray]


@torch.no_grad()
def measure(state: State, dataset: Dataset) -> Measurement:
    """k-NN of the encoder's features; use of the prototypes; a sample of the test set's embeddings.

    ``wins`` counts, for each prototype, the training images whose embedding has its largest cosine there.
    """
    state.teacher.eval()
    size = state.config.views.global_size
    train_x, train_h = embed(state.teacher, dataset.train_images, dataset, size, state.device)
    test_x, test_h = embed(state.teacher, dataset.test_images, dataset, size, state.device)
    state.teacher.train()

    train_y, test_y = (
        torch.from_numpy(np.ascontiguousarray(labels)).to(state.device)
        for labels in (dataset.train_labels, dataset.test_labels)
    )
    predictions = knn_predictions(train_x, train_y, test_x, len(dataset.class_names))
    accuracy = {k: (predicted == test_y).double().mean().item() for k, predicted in predictions.items()}

    c = prototypes(state)
    nearest = torch.cat([(block @ c.T).argmax(dim=1) for block in train_h.split(BLOCK)])
    tensors = {
        "wins": torch.bincount(nearest, minlength=len(c)).to(torch.int32),
        "sample": test_h[:SAMPLE],
        "labels": test_y[:SAMPLE].to(torch.int32),
    }
    if state.mirror is None:
        tensors["prototypes"] = c
    return Measurement(
        {
            "knn": accuracy[20],
            **{f"knn.{k}": v for k, v in accuracy.items()},
            "spread": spread(test_h).item(),
        },
        {name: tensor.cpu().numpy() for name, tensor in tensors.items()},
    )


@torch.no_grad()
def embed(
    network: Network, images: Images, dataset: Dataset, size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Features (N, F) and unit rows (N, D) of un-augmented images, by a network in evaluation mode."""
    features, rows = [], []
    for pixels in unaugmented(images, dataset, size, device):
        x = network.encoder(pixels)
        features.append(x.float())
        rows.append(network.head.embed(x))
    return torch.cat(features), torch.cat(rows)


def unaugmented(images: Images, dataset: Dataset, size: int, device: torch.device) -> Iterator[Tensor]:
    """The images in their order, as normalised blocks (n, 3, size, size)."""
    mean, std = torch.tensor(dataset.mean, device=device), torch.tensor(dataset.std, device=device)
    for start in range(0, len(images), BLOCK):
        positions = np.arange(start, min(start + BLOCK, len(images)))
        pixels = normalise(torch.from_numpy(np.array(images[positions])).to(device), mean, std)
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        yield pixels
