"""Heads under FSDP: two ranks train and save a distributed checkpoint, and one goes on from it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("scenario", ["fsdp1", "fully_shard"])
def test_two_sharded_ranks_train_and_one_continues_from_their_checkpoint(
    tmp_path: Path, placement: str, scenario: str
):
    for world in (2, 1):
        run(tmp_path, placement, scenario, world)
    zero, one, alone = (torch.load(tmp_path / f"{name}.pt") for name in ("2-0", "2-1", "1-0"))
    assert zero["taken"] == one["taken"] == alone["taken"] == 4
    assert torch.equal(zero["prototypes"], one["prototypes"])
    torch.testing.assert_close(alone["prototypes"], zero["prototypes"])
    assert zero["steps"] == alone["steps"] == 7
    torch.testing.assert_close(alone["last"], zero["last"], rtol=1e-4, atol=1e-4)


def run(folder: Path, placement: str, scenario: str, world: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {"OMP_NUM_THREADS": "1", "MIXHEAD_ENDPOINT": "", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.dropin.rank_sharded", str(folder), placement, scenario],
            cwd=ROOT,
            env={**os.environ, **own, "WORLD_SIZE": str(world), "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    for process in ranks:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
