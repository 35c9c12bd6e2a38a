"""Two ranks train what one rank with the whole batch trains: gradients, norms, losses, targets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mixhead.worker.errors import BadInput
from mixhead.worker.ranks import Ranks, order_of, ranks_of
from tests.worker.rank import TRAININGS
from tests.worker.runs import write_pictures

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the last states of all trainings, in worlds of one and of two."""
    folder = tmp_path_factory.mktemp("ranks")
    write_pictures(folder / "data", train=600, test=60)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}

    def environment(rank: int, world: int) -> dict[str, str]:
        own = {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        return {**os.environ, **group, **own}

    for world in (1, 2):
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.worker.rank", str(folder / "data"), str(folder)],
                cwd=ROOT,
                env=environment(rank, world),
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        for process in started:
            _, said = process.communicate(timeout=600)
            assert process.returncode == 0, said
    return folder


@pytest.mark.parametrize("name", [name for name in TRAININGS if name != "dino, own norms"])
def test_two_ranks_are_one_with_the_whole_batch(name: str, trained: Path):
    alone, first, second = (torch.load(trained / f"{name}-{world}.pt") for world in ("1-0", "2-0", "2-1"))
    for network in ("student", "teacher"):
        for key, tensor in alone[network].items():
            torch.testing.assert_close(first[network][key], tensor, rtol=1e-4, atol=1e-4)
            assert torch.equal(first[network][key], second[network][key]), key
    assert first["measured"] == second["measured"], "a step is measured over all ranks"
    for figure in ("loss", "gradNorm", "spread"):
        assert first["measured"][figure] == pytest.approx(alone["measured"][figure], rel=1e-4), figure
    assert first["measured"]["online"] == pytest.approx(alone["measured"]["online"], abs=0.02)


@pytest.mark.parametrize("name", ["dino", "dino, own norms"])
def test_ranks_evaluate_together_what_rank_0_would_alone(name: str, trained: Path):
    first, second = (torch.load(trained / f"{name}-2-{rank}.pt") for rank in (0, 1))
    assert first["together"] == first["alone"] and "knn" in first["together"]
    assert second["together"] is None


def test_a_setting_keeps_the_norms_of_each_rank_separate(trained: Path):
    alone, first = (torch.load(trained / f"dino, own norms-{world}.pt") for world in ("1-0", "2-0"))
    weights = [left["student"]["head.layers.0.weight"] for left in (alone, first)]
    assert (weights[0] - weights[1]).abs().max() > 1e-3


def test_rows_are_gathered_in_the_order_of_one_rank():
    mask = torch.zeros(8, 2, 2, dtype=torch.bool)
    mask[1, 0], mask[6, 1, 1], mask[7] = True, True, True
    owners = order_of(Ranks(0, 2), batch=4, views=2, mask=mask).owners.tolist()
    assert owners == [0, 0, 1, 1, 0, 0, 1, 1, *[0, 0], 1, *[1, 1, 1, 1]]


def test_the_launcher_says_which_rank_this_is():
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    srun = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}
    assert ranks_of({}) == Ranks()
    assert ranks_of(srun) == Ranks(5, 8, 0)
    assert ranks_of({**srun, **torchrun}) == Ranks(3, 8, 1)
    for wrong in ({"RANK": "3"}, {**torchrun, "RANK": "8"}, {**torchrun, "WORLD_SIZE": "x"}):
        with pytest.raises(BadInput, match="which rank this is: RANK="):
            ranks_of(wrong)
