"""The images of each step: copied where they are in memory, else decoded ahead by processes of their own."""

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
    """A rank's part of a step's batch, drawn with replacement: images (b, 3, H, W) uint8, labels (b,) int64.

    ``batch`` images are drawn for all ranks, which are b each.
    """
    n = len(dataset.train_images)
    drawn = torch.randint(n, (batch,), generator=generator(seed, "batch", step)).numpy()
    positions = drawn[ranks.part(batch)]
    images, labels = dataset.train_images[positions], dataset.train_labels[positions]
    return torch.from_numpy(np.array(images)), torch.from_numpy(np.array(labels))


class Batches(TorchDataset[Drawn | str]):
    """The batches of a rank, by step; in place of one that cannot be had the sentence that says why."""

    def __init__(self, dataset: Dataset, batch: int, seed: int, ranks: Ranks) -> None:
        self.dataset, self.batch, self.seed, self.ranks = dataset, batch, seed, ranks

    def __getitem__(self, step: int) -> Drawn | str:
        try:
            return fetch(self.dataset, self.batch, self.seed, step, self.ranks)
        except WorkerError as error:
            return str(error)


class Feed:
    """The batches of a rank's steps, asked for one after the other.

    What is decoded is so by processes, two steps each ahead: threads would take turns with the one that
    keeps the GPU busy. A context manager: at its end the processes are over.
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
        """The batch of a step; waits for it. Raises WorkerError where an image cannot be read."""
        drawn = self._batches[step] if in_memory(self._batches.dataset.train_images) else self._next(step)
        if isinstance(drawn, str):
            raise WorkerError(drawn)
        return drawn

    def _next(self, step: int) -> Drawn | str:
        if self._ahead is None:
            steps = itertools.count(step)
            loader = DataLoader(
                self._batches, None, sampler=steps, num_workers=cores(), worker_init_fn=_heed_the_rank_alone
            )
            self._ahead = iter(loader)
        return next(self._ahead)


def _heed_the_rank_alone(_: int) -> None:
    """A scheduler's SIGTERM, which the rank ignores (see launch.py), ends no loader; the rank's own does."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
