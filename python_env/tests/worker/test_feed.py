"""A step's batch is the same whenever and by whomever it is fetched; what is decoded is decoded ahead."""

from __future__ import annotations

import multiprocessing
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixhead.worker.config import DataConfig
from mixhead.worker.data import Dataset, load
from mixhead.worker.errors import WorkerError
from mixhead.worker.feed import Feed
from mixhead.worker.ranks import Ranks

SIZE, COUNT = 16, 30


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Pictures of noise in two classes."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for i in range(COUNT):
            folder = tmp_path / split / f"class-{i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            picture = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(picture).save(folder / f"{i}.png")
    return tmp_path


def dataset(photographs: Path) -> Dataset:
    return load(DataConfig("folder", path=str(photographs)), "unused", size=SIZE)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No set is small enough to be kept decoded."""
    monkeypatch.setattr("mixhead.worker.data.folder.IN_MEMORY", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


def test_a_batch_holds_each_images_label_and_depends_on_seed_and_step_alone(photographs: Path):
    data = dataset(photographs)
    images = data.train_images[np.arange(COUNT)]
    label_of = {
        image.tobytes(): label for image, label in zip(images, data.train_labels.tolist(), strict=True)
    }
    with Feed(data, 8, 0) as feed, Feed(data, 8, 0) as again:
        first, second = feed.of(0), feed.of(1)
        for x, y in (first, second):
            assert [label_of[image.numpy().tobytes()] for image in x] == y.tolist()
        assert not np.array_equal(first[0], second[0])
        assert np.array_equal(again.of(1)[0], second[0])
    with Feed(data, 8, 1) as other:
        assert not np.array_equal(other.of(0)[0], first[0])


def test_ranks_divide_the_batch_that_one_rank_would_have(photographs: Path):
    data = dataset(photographs)
    with Feed(data, 8, 0) as alone:
        whole, labels = alone.of(3)
    parts = []
    for rank in range(4):
        with Feed(data, 8, 0, Ranks(rank, 4)) as feed:
            parts.append(feed.of(3))
    assert np.array_equal(np.concatenate([x for x, _ in parts]), whole)
    assert np.array_equal(np.concatenate([y for _, y in parts]), labels)


def test_images_decoded_ahead_equal_images_decoded_in_the_step(
    photographs: Path, request: pytest.FixtureRequest
):
    with Feed(dataset(photographs), 8, 0) as feed:
        kept = [feed.of(step) for step in range(6)]
    request.getfixturevalue("large")
    with Feed(dataset(photographs), 8, 0) as feed:
        assert not multiprocessing.active_children()
        decoded = [feed.of(step) for step in range(2, 6)]
        assert len(multiprocessing.active_children()) == 2
    for (x, y), (other_x, other_y) in zip(kept[2:], decoded, strict=True):
        assert np.array_equal(x, other_x) and np.array_equal(y, other_y)
    until = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_a_schedulers_signal_ends_no_loader_and_the_ranks_own_does(photographs: Path, large: None):
    with Feed(dataset(photographs), 8, 0) as feed:
        feed.of(0), feed.of(1)
        loaders = multiprocessing.active_children()
        subprocess.run(["kill", "-TERM", *(str(loader.pid) for loader in loaders)], check=True)
        for step in range(2, 8):
            feed.of(step)
    with Feed(dataset(photographs), 8, 0) as feed:
        feed.of(0), feed.of(1)
        loader = multiprocessing.active_children()[0]
        loader.terminate()
        loader.join(20)
        assert loader.exitcode == 0


def test_an_image_that_cannot_be_read_is_one_sentence(photographs: Path, large: None):
    for file in (photographs / "train").glob("*/*.png"):
        file.write_bytes(b"no")
    with Feed(dataset(photographs), 4, 0) as feed, pytest.raises(WorkerError) as raised:
        feed.of(0)
    assert "cannot be read as an image" in str(raised.value) and "\n" not in str(raised.value)
