"""The images of each step, fetched while the steps before it are taken."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from mixhead.worker.data import Dataset
from mixhead.worker.randomness import generator

AHEAD = 2  # steps

Drawn = tuple[Tensor, Tensor]


def fetch(dataset: Dataset, batch: int, seed: int, step: int, rank: int) -> Drawn:
    """A step's batch, drawn with replacement: images (batch, 3, H, W) uint8, labels (batch,) int64."""
    n = len(dataset.train_images)
    positions = torch.randint(n, (batch,), generator=generator(seed, "batch", step, rank)).numpy()
    images, labels = dataset.train_images[positions], dataset.train_labels[positions]
    return torch.from_numpy(np.array(images)), torch.from_numpy(np.array(labels))


class Feed:
    """The batches of a rank's steps. What they are does not depend on when they are fetched.

    A context manager: at its end the thread that fetches is over.
    """

    def __init__(self, dataset: Dataset, batch: int, seed: int, rank: int) -> None:
        self.dataset, self.batch, self.seed, self.rank = dataset, batch, seed, rank
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._fetched: dict[int, Future[Drawn]] = {}

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def of(self, step: int) -> Drawn:
        """The batch of a step; waits for it. Raises WorkerError where an image cannot be read."""
        for t in range(step, step + 1 + AHEAD):
            if t not in self._fetched:
                self._fetched[t] = self._thread.submit(
                    fetch, self.dataset, self.batch, self.seed, t, self.rank
                )
        return self._fetched.pop(step).result()
