"""The feed fetches ahead, and gives what would have been fetched at its time."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from mixhead.worker.config import DataConfig
from mixhead.worker.data import Dataset, load
from mixhead.worker.errors import WorkerError
from mixhead.worker.feed import AHEAD, Feed


class Counted:
    """Images that say when they are asked for; one position is damaged."""

    def __init__(self, images: np.ndarray, damaged: int = -1) -> None:
        self.images, self.damaged, self.asked = images, damaged, threading.Semaphore(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        self.asked.release()
        if self.damaged in positions:
            raise WorkerError(f"image {self.damaged} cannot be read")
        return self.images[positions]


@pytest.fixture
def dataset(data_dir: Path) -> Dataset:
    return load(DataConfig("fashion-mnist"), data_dir)


def counted(dataset: Dataset, damaged: int = -1) -> Dataset:
    return Dataset(**{**vars(dataset), "train_images": Counted(dataset.train_images, damaged)})


def test_a_batch_is_the_same_whenever_it_is_fetched_and_holds_each_images_label(dataset: Dataset):
    with Feed(dataset, 16, 0, 0) as feed:
        unbroken = [feed.of(step) for step in range(6)]
    with Feed(dataset, 16, 0, 0) as feed:
        resumed = [feed.of(step) for step in range(3, 6)]
    labels = {
        image.tobytes(): label
        for image, label in zip(dataset.train_images, dataset.train_labels, strict=True)
    }
    for (x, y), (again_x, again_y) in zip(unbroken[3:], resumed, strict=True):
        assert np.array_equal(x, again_x) and np.array_equal(y, again_y)
        assert [labels[image.numpy().tobytes()] for image in x] == y.tolist()
    assert not np.array_equal(unbroken[0][0], unbroken[1][0])
    with Feed(dataset, 16, 0, rank=1) as other:
        assert not np.array_equal(other.of(0)[0], unbroken[0][0])


def test_the_next_steps_are_fetched_without_being_asked_for(dataset: Dataset):
    dataset = counted(dataset)
    with Feed(dataset, 4, 0, 0) as feed:
        feed.of(0)
        assert all(dataset.train_images.asked.acquire(timeout=20) for _ in range(1 + AHEAD))
        assert not dataset.train_images.asked.acquire(timeout=0.1)
    assert not any(thread.name.startswith("feed") for thread in threading.enumerate())


def test_an_image_that_cannot_be_read_fails_the_step_that_needs_it(dataset: Dataset):
    with Feed(dataset, 4, 0, 0) as feed:
        drawn = [feed.of(step) for step in range(3)]
    damaged = next(
        i
        for i, image in enumerate(dataset.train_images)
        if any(np.array_equal(image, of) for of in drawn[2][0])
        and not any(np.array_equal(image, of) for images, _ in drawn[:2] for of in images)
    )
    with Feed(counted(dataset, damaged), 4, 0, 0) as feed:
        feed.of(0), feed.of(1)
        with pytest.raises(WorkerError, match=f"image {damaged} cannot be read"):
            feed.of(2)
