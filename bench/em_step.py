"""The same EM step in PyTorch: one step for each line on standard input, its milliseconds on standard output."""

import math
import sys
import time

import torch


def sinkhorn(logits: torch.Tensor, iterations: int = 3) -> torch.Tensor:
    q = torch.exp(logits - logits.max()).t()
    prototypes, samples = q.shape
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(dim=1, keepdim=True) * prototypes
        q /= q.sum(dim=0, keepdim=True) * samples
    return (q * samples).t()


class Mixture:
    """Shared covariance, forgetting by responsibility, a prior on the means."""

    def __init__(self, components: int, dim: int, variance: float, retention: float, strength: float) -> None:
        self.starts = torch.nn.functional.normalize(torch.randn(components, dim), dim=1)
        self.sums = self.starts.clone()
        self.counts = torch.ones(components, 1)
        self.prototypes = self.starts.clone()
        self.variance, self.retention, self.strength = variance, retention, strength

    def step(self, h: torch.Tensor) -> float:
        logits = (h / self.variance) @ self.prototypes.t()
        r = torch.softmax(logits, dim=1)
        entropy = (torch.logsumexp(logits, dim=1) - (r * logits).sum(dim=1)).mean()
        w = r.sum(dim=0).unsqueeze(1)
        forgotten = -torch.expm1(w * math.log(self.retention))
        taken = forgotten / (1 - self.retention)
        self.counts += taken - forgotten * self.counts
        self.sums += taken / w.clamp_min(1e-30) * (r.t() @ h) - forgotten * self.sums
        means = (self.sums + self.strength * self.starts) / (self.counts + self.strength)
        self.prototypes = torch.nn.functional.normalize(means, dim=1)
        return entropy.item()


def main(rows: int, dim: int, components: int, targets: bool) -> None:
    mixture = Mixture(components, dim, variance=0.02, retention=0.99, strength=10)
    h = torch.nn.functional.normalize(torch.randn(rows, dim), dim=1)
    for _ in sys.stdin:
        start = time.perf_counter()
        mixture.step(h)
        if targets:
            sinkhorn(h @ mixture.prototypes.t() / 0.04)
        print((time.perf_counter() - start) * 1e3, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "targets")
