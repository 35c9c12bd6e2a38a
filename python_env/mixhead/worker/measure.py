"""The measurements of the command "evaluate": the frozen teacher on images that are not augmented."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mixhead.knn import knn_predictions
from mixhead.worker.augment import Crop
from mixhead.worker.data import Dataset
from mixhead.worker.data.dataset import Selected
from mixhead.worker.frozen import Frozen, evaluating
from mixhead.worker.geometry import geometry
from mixhead.worker.state import State
from mixhead.worker.step import prototypes, spread

BLOCK = 512
SAMPLE = 512
NAMED = 20  # largest number of classes whose names are sent


@dataclass(frozen=True)
class Measurement:
    """The result of an evaluation.

    ``scalars``: knn (k = 20), knn.10 ... knn.200, spread, alignment, uniformity.
    ``tensors``: wins (K,) int32, sample (n, D), labels (n,) int32, classCounts (C,) int32, and prototypes
    (K, D) if Node does not have them.
    ``text``: classNames, a JSON array, if there are at most NAMED classes.
    """

    scalars: dict[str, float]
    tensors: dict[str, np.ndarray]
    text: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def measure(state: State, dataset: Dataset, frozen: Frozen) -> Measurement:
    """Measures the k-NN accuracy of the encoder's features and the use of the prototypes.

    ``wins`` counts, for each prototype, the training images whose embedding is closest to it by cosine.
    """
    with evaluating(state.teacher):
        of_views = _geometry(state, dataset)
    train, test = frozen.train, frozen.test
    predictions = knn_predictions(train.x, train.y, test.x, len(dataset.class_names))
    accuracy = {k: (predicted == test.y).double().mean().item() for k, predicted in predictions.items()}

    c = prototypes(state)
    tensors = {
        "wins": wins(frozen.train_h, c).to(torch.int32),
        "sample": frozen.test_h[:SAMPLE],
        "labels": test.y[:SAMPLE].to(torch.int32),
        "classCounts": torch.tensor(dataset.counts()[0], dtype=torch.int32),
    }
    if state.mirror is None or state.config.placement == "device":
        tensors["prototypes"] = c
    return Measurement(
        {
            "knn": accuracy[20],
            **{f"knn.{k}": v for k, v in accuracy.items()},
            "spread": spread(frozen.test_h).item(),
            **of_views,
        },
        {name: tensor.cpu().numpy() for name, tensor in tensors.items()},
        {"classNames": json.dumps(dataset.class_names)} if len(dataset.class_names) <= NAMED else {},
    )


def _geometry(state: State, dataset: Dataset) -> dict[str, float]:
    """Alignment and uniformity of the sample, over views like the run's global ones."""
    views = state.config.views
    sample = Selected(dataset.test_images, np.arange(min(SAMPLE, len(dataset.test_images))))
    mean, std = (torch.tensor(of, device=state.device) for of in (dataset.mean, dataset.std))
    crop = Crop(2, views.global_size, views.global_scale)
    return geometry(state.teacher, sample, crop, mean, std, state.config.seed)


def wins(rows: Tensor, c: Tensor) -> Tensor:
    """Counts the unit rows (N, D) that are closest to each of the unit prototypes (K, D) by cosine: (K,)."""
    nearest = torch.cat([(block @ c.T).argmax(dim=1) for block in rows.split(BLOCK)])
    return torch.bincount(nearest, minlength=len(c))
