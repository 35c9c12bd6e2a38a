"""The command "probe" at the end of a training: the figures of `mixhead evaluate`, and example images."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mixhead.worker.data import Dataset
from mixhead.worker.data.dataset import Images
from mixhead.worker.evaluate import evaluate
from mixhead.worker.features import Features, balanced_version
from mixhead.worker.frozen import Frozen, embed, evaluating
from mixhead.worker.measure import wins
from mixhead.worker.state import State
from mixhead.worker.step import prototypes

SAMPLED = 12  # prototypes for which images are shown
NEAREST = 8  # images for each of them
SIDE = 32  # largest side of a shown image, in pixels


def probe(
    state: State, dataset: Dataset, frozen: Frozen, data_dir: str
) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Returns the object of `mixhead evaluate --json`, and the tensors of ``nearest_images``."""
    config = state.config
    size = config.views.global_size
    references, balanced = balanced_version(config, data_dir), None
    if references is not None:
        with evaluating(state.teacher):
            images, labels = references.train_images, references.train_labels
            balanced, _ = embed(state.teacher, images, labels, references, size, state.device)
    features = Features(frozen.train, frozen.test, balanced)
    figures = evaluate(features, config.data.name, tell=lambda _: None)
    return figures, nearest_images(prototypes(state), frozen, dataset.train_images)


def nearest_images(c: Tensor, frozen: Frozen, images: Images) -> dict[str, np.ndarray]:
    """Finds the training images that are closest to a sample of the prototypes ``c`` (K, D), by cosine.

    Returns:
        ``nearestPrototypes``: indices of P = 12 used prototypes, (P,) int32, evenly spaced in the order from
        most to fewest wins; all of them if there are fewer.
        ``nearestImages``: their 8 closest images, the closest first, (P, 8, S, S, 3) uint8 with S <= 32; all
        images if there are fewer.
        ``nearestLabels``: the labels of these images, (P, 8) int32.
    """
    won = wins(frozen.train_h, c)
    used = int((won > 0).sum())
    places = torch.linspace(0, used - 1, min(SAMPLED, used)).round().long().to(c.device)
    chosen = won.argsort(descending=True, stable=True)[places]
    nearest = (frozen.train_h @ c[chosen].T).topk(min(NEAREST, len(images)), dim=0).indices.T.cpu()
    pixels = torch.from_numpy(np.array(images[nearest.flatten().numpy()])).float()
    if pixels.shape[-1] > SIDE:
        pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True)
    shown = pixels.round().to(torch.uint8).permute(0, 2, 3, 1)
    return {
        "nearestPrototypes": chosen.to(torch.int32).cpu().numpy(),
        "nearestImages": shown.reshape(*nearest.shape, *shown.shape[1:]).numpy(),
        "nearestLabels": frozen.train.y.cpu()[nearest].to(torch.int32).numpy(),
    }
