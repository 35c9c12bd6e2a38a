"""The images of each step: copied if they are in memory, otherwise decoded ahead by data loader processes."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mixhead.worker.data import Dataset
from mixhead.worker.data.dataset import cores, in_memory
from mixhead.worker.errors import WorkerError
from mixhead.worker.randomness import generator
from mixhead.worker.ranks import ALONE, Ranks

Drawn = tuple[Tensor, Tensor]


def fetch(dataset: Dataset, batch: int, seed: int, step: int, ranks: Ranks = ALONE) -> Drawn:
    """Draws a step's batch with replacement, and returns a rank's part of it.

    Args:
        dataset: The data set.
        batch: The number B of images that are drawn for all ranks together.
        seed: The run's seed.
        step: The step, from 0.
        ranks: The ranks, which share the batch equally.

    Returns:
        Images (B / world, 3, H, W), uint8, and labels (B / world,), int64.
    """
    n = len(dataset.train_images)
    drawn = torch.randint(n, (batch,), generator=generator(seed, "batch", step)).numpy()
    positions = drawn[ranks.part(batch)]
    images, labels = dataset.train_images[positions], dataset.train_labels[positions]
    return torch.from_numpy(np.array(images)), torch.from_numpy(np.array(labels))


class Batches(TorchDataset[Drawn | str]):
    """The batches of a rank, by step. If images cannot be read, the item is the error's sentence instead."""

    def __init__(self, dataset: Dataset, batch: int, seed: int, ranks: Ranks) -> None:
        self.dataset, self.batch, self.seed, self.ranks = dataset, batch, seed, ranks

    def __getitem__(self, step: int) -> Drawn | str:
        try:
            return fetch(self.dataset, self.batch, self.seed, step, self.ranks)
        except WorkerError as error:
            return str(error)


class Feed:
    """The batches of consecutive steps of a rank.

    Images are decoded in processes, each up to two steps ahead, because threads would compete with the thread
    that keeps the GPU busy. As a context manager, it ends these processes on exit.
    """

    def __init__(self, dataset: Dataset, batch: int, seed: int, ranks: Ranks = ALONE) -> None:
        self._batches = Batches(dataset, batch, seed, ranks)
        self._ahead: Iterator[Drawn | str] | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead = None

    def of(self, step: int) -> Drawn:
        """Waits for the batch of a step. Raises WorkerError if an image cannot be read."""
        drawn = self._batches[step] if in_memory(self._batches.dataset.train_images) else self._next(step)
        if isinstance(drawn, str):
            raise WorkerError(drawn)
        return drawn

    def _next(self, step: int) -> Drawn | str:
        if self._ahead is None:
            steps = itertools.count(step)
            loader = DataLoader(
                self._batches, None, sampler=steps, num_workers=cores(), worker_init_fn=_obey_only_the_rank
            )
            self._ahead = iter(loader)
        return next(self._ahead)


def _obey_only_the_rank(_: int) -> None:
    """Makes a loader end on a SIGTERM from its rank, but not on a scheduler's, which the rank ignores too."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
