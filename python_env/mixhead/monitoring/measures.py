"""Measures of a frozen encoder and its head on a set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mixhead.knn import knn_predictions
from mixhead.monitoring.distinct import distinct

NEIGHBOURS = 20
DISTANCE = 0.5  # cosine distance from which on two prototypes count as different


@dataclass(frozen=True)
class Seen:
    """An encoder's and a head's outputs for N images.

    features: (N, F), float32. labels: (N,), -1 for an image without one. winners: for each image the
    prototype with the largest logit, (N,); None without a head. components: the number K of prototypes.
    """

    features: Tensor
    labels: Tensor
    winners: Tensor | None
    components: int

    def labelled(self) -> tuple[Tensor, Tensor]:
        """Features (M, F) and labels (M,) of the images that have one."""
        known = self.labels >= 0
        return self.features[known], self.labels[known]


def see(
    batches: Iterable[tuple[Tensor, Tensor | None]],
    encoder: Callable[[Tensor], Tensor],
    head: Callable[[Tensor], Tensor] | None,
) -> Seen:
    """Runs images through the encoder and, if there is one, the head.

    Raises TypeError if the encoder or the head does not return one row for each image. Raises ValueError if
    there are no images, or if a feature is not finite.
    """
    features, labels, winners, components = [], [], [], 0
    for images, known in batches:
        x = _rows(encoder(images), "encoder", len(images))
        features.append(x.float())
        missing = torch.full((len(x),), -1, device=x.device) if known is None else known.to(x.device)
        labels.append(missing)
        if head is not None:
            logits = _rows(head(x), "head", len(images))
            winners.append(logits.argmax(dim=1))
            components = logits.shape[1]
    if not features:
        raise ValueError("monitor: there are no images")
    seen = Seen(torch.cat(features), torch.cat(labels), torch.cat(winners) if winners else None, components)
    if not seen.features.isfinite().all():
        raise ValueError("monitor: the encoder's features are not finite")
    return seen


def _rows(output: object, who: str, count: int) -> Tensor:
    """(N, ...) -> (N, F)."""
    if isinstance(output, Tensor) and output.ndim >= 2 and len(output) == count:
        return output.flatten(1)
    what = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise TypeError(
        f"monitor: the {who} makes {what} of {count} images; allowed: a tensor with one row for each image. "
        "Pass a module of your own that, for example, returns the class token alone"
    )


def figures(
    references: Seen, queries: Seen | None = None, prototypes: Tensor | None = None
) -> dict[str, float]:
    """k-NN accuracy, effective rank and use of prototypes, as far as the inputs allow.

    "knn": accuracy in [0, 1] of a weighted k-NN (k = 20, T = .07, cosine) that classifies the queries by the
    references. Without queries, each half of the images is classified by the other. Needs labels of at least
    two classes.
    "effective_rank": of the references' features, in [1, F].
    "used_by_images": share of the prototypes that have the largest logit for at least one reference.
    "perplexity": exp of the entropy of the distribution of references over these prototypes, in [1, K].
    "distinct_used_by_images", if the `prototypes` (K, D) are known: the share of K that remains of the used
    ones if those within a cosine distance of .5 count once.
    """
    made = {"effective_rank": effective_rank(references.features)}
    x, y = references.labelled()
    if len(y.unique()) > 1:
        if queries is None:
            halves = (x[::2], y[::2]), (x[1::2], y[1::2])
            right = torch.cat([_right(*halves[0], *halves[1]), _right(*halves[1], *halves[0])])
        else:
            right = _right(x, y, *queries.labelled())
        if len(right):
            made["knn"] = right.double().mean().item()
    if references.winners is not None:
        wins = torch.bincount(references.winners, minlength=references.components).double()
        made["used_by_images"] = (wins > 0).double().mean().item()
        if prototypes is not None:
            used = prototypes[(wins > 0).to(prototypes.device)]
            made["distinct_used_by_images"] = distinct(used, DISTANCE) / references.components
        made["perplexity"] = torch.special.entr(wins / wins.sum()).sum().exp().item()
    return made


def _right(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> Tensor:
    """Whether the k-NN classifies each query correctly, (M,) bool."""
    if len(test_y) == 0:
        return torch.empty(0, dtype=torch.bool, device=test_y.device)
    classes = int(torch.cat([train_y, test_y]).max()) + 1
    return knn_predictions(train_x, train_y, test_x, classes, [NEIGHBOURS])[NEIGHBOURS] == test_y


def effective_rank(features: Tensor) -> float:
    """The effective rank of rows (N, F), in [1, min(N, F)] (Roy and Vetterli 2007; RankMe).

    It is exp of the entropy of the singular values of the L2-normalised rows, divided by their sum.
    """
    x = F.normalize(features.double(), dim=1)
    # From the smaller Gram matrix, in float64: in float32 singular values of 0 would come out far above 0.
    gram = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    rank: float = torch.special.entr(singular / singular.sum()).sum().exp().item()
    return rank
