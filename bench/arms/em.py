"""The EM step written directly in PyTorch, and its two matrix products alone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rounds import take_rounds
from torch import Tensor

RETENTION, STRENGTH, COUNT = 0.99, 10.0, 1.0
VARIANCE = 0.02
FLOOR, WEIGHT_RATE = 1e-6, 0.05


@dataclass(frozen=True)
class Options:
    what: str  # shared, diagonal, or products of one of them: "products shared"
    rows: int
    dim: int
    components: int
    device: str
    seconds: float = 2.0


class Shared:
    """One given variance, forgetting by responsibility, a prior on the means."""

    def __init__(self, components: int, dim: int, device: str) -> None:
        self.starts = F.normalize(torch.randn(components, dim, device=device), dim=1)
        self.sums = COUNT * self.starts
        self.counts = torch.full((components, 1), COUNT, device=device)
        self.prototypes = self.starts.clone()

    @torch.no_grad()
    def step(self, h: Tensor) -> Tensor:
        """One step on unit rows h (N, D); the entropy of the responsibilities."""
        logits = (h / VARIANCE) @ self.prototypes.t()
        r = torch.softmax(logits, dim=1)
        w = r.sum(dim=0).unsqueeze(1)
        forgotten, gain, taken = forgetting(w)
        self.counts += taken - forgotten * self.counts
        self.sums.addcmul_(forgotten, self.sums, value=-1).addcmul_(gain, r.t() @ h)
        means = (self.sums + STRENGTH * self.starts) / (self.counts + STRENGTH)
        self.prototypes = F.normalize(means, dim=1)
        return entropy(logits, r)


class Diagonal:
    """A variance for each component and dimension, and weights, all estimated."""

    def __init__(self, components: int, dim: int, device: str) -> None:
        self.initial = 1 / dim
        self.starts = F.normalize(torch.randn(components, dim, device=device), dim=1)
        self.priors = torch.cat([self.starts, self.starts.square() + self.initial], dim=1)
        self.sums = COUNT * self.priors  # of h and of its squares: (K, 2 D)
        self.counts = torch.full((components, 1), COUNT, device=device)
        self.means = self.starts.clone()
        self.variances = torch.full_like(self.starts, self.initial)
        self.weights = torch.full((components,), 1 / components, device=device)
        self.prototypes = self.starts.clone()

    @torch.no_grad()
    def step(self, h: Tensor) -> Tensor:
        """One step on unit rows h (N, D); the entropy of the responsibilities."""
        dim = h.shape[1]
        precisions = self.variances.reciprocal()
        constant = (self.means.square() * precisions).sum(dim=1) + self.variances.log().sum(dim=1)
        parameters = torch.cat([self.means * precisions, precisions], dim=1)
        squares = h.square()
        features = torch.cat([h, -0.5 * squares], dim=1)
        logits = torch.addmm(self.weights.log() - 0.5 * constant, features, parameters.t())
        r = torch.softmax(logits, dim=1)
        sums = r.sum(dim=0)
        w = sums.unsqueeze(1)
        forgotten, gain, taken = forgetting(w)
        self.counts += taken - forgotten * self.counts
        statistic = r.t() @ torch.cat([h, squares], dim=1)
        self.sums.addcmul_(forgotten, self.sums, value=-1).addcmul_(gain, statistic)
        both = torch.add(self.sums, self.priors, alpha=STRENGTH) / (self.counts + STRENGTH)
        self.means, seconds = both[:, :dim], both[:, dim:]
        self.variances = (seconds - self.means.square()).clamp_min_(FLOOR)
        self.weights = torch.lerp(self.weights, sums / len(h), WEIGHT_RATE)
        self.prototypes = F.normalize(self.means, dim=1)
        return entropy(logits, r)


def forgetting(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """1 - d, g and g w of each component, from its responsibility w (K, 1) for the batch."""
    forgotten = -torch.expm1(w * math.log(RETENTION))
    taken = forgotten / (1 - RETENTION)
    return forgotten, taken / w.clamp_min(1e-30), taken


def entropy(logits: Tensor, r: Tensor) -> Tensor:
    return (torch.logsumexp(logits, dim=1) - torch.linalg.vecdot(r, logits)).mean()


def products(rows: int, width: int, components: int, device: str) -> Callable[[], None]:
    """The products that every implementation needs: (N, W) (W, K), and (K, N) (N, W)."""
    h, c, r = (
        torch.randn(shape, device=device)
        for shape in ((rows, width), (components, width), (rows, components))
    )
    logits, sums = torch.empty_like(r), torch.empty_like(c)

    def step() -> None:
        torch.mm(h, c.t(), out=logits)
        torch.mm(r.t(), h, out=sums)

    return step


def main(options: Options) -> None:
    torch.manual_seed(0)
    kind, _, covariance = options.what.rpartition(" ")
    if kind == "products":
        width = options.dim * (2 if covariance == "diagonal" else 1)
        step = products(options.rows, width, options.components, options.device)
    else:
        mixture = {"shared": Shared, "diagonal": Diagonal}[covariance](
            options.components, options.dim, options.device
        )
        h = F.normalize(torch.randn(options.rows, options.dim, device=options.device), dim=1)

        def step() -> None:
            mixture.step(h)

    take_rounds(step, options.device, options.seconds, profile=True)


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
