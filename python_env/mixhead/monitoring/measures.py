"""What a frozen encoder, and a head behind it, make of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mixhead.monitoring.distinct import distinct
from mixhead.worker.knn import knn_predictions

NEIGHBOURS = 20
DISTANCE = 0.5  # cosine, at which two prototypes count as different


@dataclass(frozen=True)
class Seen:
    """Of N images: features (N, F), float32; labels (N,), -1 for none; and which of the K prototypes has the
    largest logit of each: (N,), or None where there is no head."""

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
    """Raises TypeError where the encoder or the head gives something else than rows, and ValueError where
    there are no images or a feature is not finite."""
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
        f"monitor: the {who} makes {what} of {count} images; allowed: a tensor of a row for each, such as a "
        "module of your own that takes the class token gives"
    )


def figures(
    references: Seen, queries: Seen | None = None, prototypes: Tensor | None = None
) -> dict[str, float]:
    """k-NN, effective rank and use of prototypes, as far as what was seen tells of them:

    "knn": accuracy in [0, 1], k = 20, T = .07, cosine, of the queries by the references. Without queries each
    half of the images is classified by the other. Needs labels of two classes.
    "effective_rank": of the references' features, in [1, F].
    "used_by_images": share of prototypes that have the largest logit of one of the references. "perplexity":
    exp of the entropy of how often each has. "distinct_used_by_images", where the `prototypes` (K, D) are
    known: the share of K that is left of the used ones where those within a cosine distance of .5 count once.
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
    """Whether each query (M,) is classified as what it is."""
    if len(test_y) == 0:
        return torch.empty(0, dtype=torch.bool, device=test_y.device)
    classes = int(torch.cat([train_y, test_y]).max()) + 1
    return knn_predictions(train_x, train_y, test_x, classes, [NEIGHBOURS])[NEIGHBOURS] == test_y


def effective_rank(features: Tensor) -> float:
    """Of rows (N, F), in [1, min(N, F)]: how many directions they spread over (Roy and Vetterli 2007), as in
    RankMe: exp of the entropy of the singular values of the L2-normalised rows, divided by their sum."""
    x = F.normalize(features.double(), dim=1)
    # From the smaller Gram matrix, in float64: in float32 those that are 0 would come out far above it.
    gram = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    return torch.special.entr(singular / singular.sum()).sum().exp().item()
