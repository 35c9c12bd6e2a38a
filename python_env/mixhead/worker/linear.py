"""Linear classification of frozen features: multinomial logistic regression, solved to its optimum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RATES = tuple(0.001 * 10 ** (i / 3) for i in range(13))  # 0.001 ... 10
SWEEP_STEPS = 100
MOST_STEPS = 5000
TOLERANCE = 1e-4  # largest entry of the gradient, relative to that at the start
HELD_OUT = 0.1
BLOCK = 1 << 21  # logits at a time, so that they fit into a cache


@dataclass(frozen=True)
class Probe:
    """A trained classifier's predictions (N,) for the test features, and its learning rate."""

    predictions: Tensor
    rate: float


@torch.no_grad()
def linear_probe(train_x: Tensor, train_y: Tensor, test_x: Tensor, classes: int) -> Probe:
    """Logistic regression on features (M, F) standardised by the training set, labels (M,) in [0, classes).

    The loss is the mean cross-entropy + |W|^2 / (2 M), which has one optimum (scikit-learn's at C = 1).
    All RATES are first tried side by side on nine tenths of the training set. The one that classifies the
    other tenth best is then used on the whole set until the gradient vanishes.

    Args:
        train_x: Training features (M, F).
        train_y: Their labels (M,), int64.
        test_x: Test features (N, F).
        classes: The number of classes.
    """
    scale = _scale(train_x.float())
    train_x, test_x = train_x.float() / scale, test_x.float() / scale
    mean, std = train_x.mean(dim=0), train_x.std(dim=0, correction=0).clamp_min(1e-6)
    train_x, test_x = (_with_one((x - mean) / std) for x in (train_x, test_x))

    order = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(0)).to(train_x.device)
    held = max(1, round(HELD_OUT * len(train_x)))
    held_out, kept = order[:held], order[held:]
    rates = torch.tensor(RATES, device=train_x.device)
    swept, stable = _descend(train_x[kept], train_y[kept], classes, rates, SWEEP_STEPS)
    accuracy = (_classify(train_x[held_out], swept) == train_y[held_out]).float().mean(dim=1)
    best = int(accuracy.argmax())
    solved, stable = _descend(train_x, train_y, classes, stable[best : best + 1], MOST_STEPS)
    return Probe(_classify(test_x, solved)[0], stable.item())


def _scale(x: Tensor) -> Tensor:
    """The divisor of each column (F,) before it is standardised.

    It is 1 for usual columns, which keep their bits. It is the largest entry if squares might overflow or
    underflow float32, or if the smallest allowed deviation would be too coarse.
    """
    largest = torch.linalg.vector_norm(x, torch.inf, dim=0)
    usual = (largest == 0) | ((largest >= 1e-3) & (largest <= 1e12))
    return torch.where(usual, 1.0, largest)


def _descend(x: Tensor, y: Tensor, classes: int, rates: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Nesterov's accelerated descent, for all rates side by side: weights (R, C, F + 1), rates (R,).

    If the momentum points uphill, it is reset (O'Donoghue and Candes 2015), so no strong-convexity constant
    is needed. A run that diverges starts over at half its rate.
    """
    targets = F.one_hot(y, classes).float().T.contiguous()
    rate = rates.view(-1, 1, 1)
    weights = torch.zeros(len(rates), classes, x.shape[1], device=x.device)
    ahead, age = weights, torch.zeros_like(rate)
    first = _gradient(x, targets, weights[:1]).abs().max()
    for _ in range(steps):
        gradient = _gradient(x, targets, ahead)
        size = gradient.abs().amax(dim=(1, 2), keepdim=True)
        if bool((size <= TOLERANCE * first).all()):
            break
        after = ahead - rate * gradient
        moved = after - weights
        uphill = (gradient * moved).sum(dim=(1, 2), keepdim=True) > 0
        age = torch.where(uphill, 0.0, age + 1)
        ahead = after + moved * (age / (age + 3))
        diverged = ~(size <= 10 * first)
        rate = torch.where(diverged, rate / 2, rate)
        weights, ahead = torch.where(diverged, 0.0, after), torch.where(diverged, 0.0, ahead)
    return weights, rate.flatten()


def _gradient(x: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the loss at weights (R, C, F + 1), in blocks of rows. The bias is not decayed.

    Rows of x become columns, because a softmax over few classes is then fast on a CPU.
    """
    runs, classes, width = weights.shape
    flat = weights.view(-1, width)
    total = torch.zeros_like(flat)
    rows = max(1, BLOCK // len(flat))
    for block, target in zip(x.split(rows), targets.split(rows, dim=1), strict=True):
        error = torch.softmax((flat @ block.T).view(runs, classes, -1), dim=1) - target
        total += error.view(len(flat), -1) @ block
    gradient = total.view_as(weights)
    gradient[..., :-1] += weights[..., :-1]
    return gradient / len(x)


def _classify(x: Tensor, weights: Tensor) -> Tensor:
    """Predicted classes (R, N) of rows (N, F + 1)."""
    rows = max(1, BLOCK // (weights.shape[0] * weights.shape[1]))
    return torch.cat([(weights @ block.T).argmax(dim=1) for block in x.split(rows)], dim=1)


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, device=x.device)], dim=1)
