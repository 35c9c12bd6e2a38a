"""Two ranks: one mixture of the whole batch, the same prototypes everywhere, and one end for all."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mixhead.dropin.ranks import ranks

ROOT = Path(__file__).parents[2]


def start(folder: Path, mode: str, world: int) -> list[subprocess.Popen]:
    """The ranks as torchrun starts them, but each left to its own fate."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.dropin.rank", str(folder), mode],
            cwd=ROOT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "MIXHEAD_ENDPOINT": "",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def result(folder: Path, rank: int, world: int) -> list[torch.Tensor]:
    return torch.load(folder / f"result-{rank}-of-{world}.pt")


def test_two_ranks_train_as_one_with_the_whole_batch(tmp_path: Path):
    for world in (1, 2):
        for process in start(tmp_path, "train", world):
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
    zero, one, alone = result(tmp_path, 0, 2), result(tmp_path, 1, 2), result(tmp_path, 0, 1)
    assert torch.equal(zero[0], one[0])
    for ours, theirs, whole in zip(zero, one, alone, strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-5)


def test_a_rank_that_dies_ends_the_others_with_a_sentence(tmp_path: Path):
    zero, one = start(tmp_path, "dies", 2)
    one.communicate(timeout=120)
    died = time.monotonic()
    _, err = zero.communicate(timeout=120)
    assert time.monotonic() - died < 30
    assert zero.returncode == 1
    assert "rank 1: its process ended or its connection broke" in err.splitlines()[-1], err


def test_torchrun_without_a_process_group_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group"):
        ranks(60)
