"""`mixhead.monitor` on two ranks: nobody waits for ever, and all have figures."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

import mixhead

WORLD = 2
WRAPPERS = {"ddp": DistributedDataParallel, "fsdp": fully_shard}


def train(wrap: Callable[[nn.Module], nn.Module]) -> dict[str, object]:
    """Four steps of a student that follows a teacher; both have a batch norm."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    teacher, student = wrap(copy.deepcopy(made)), wrap(made)
    labels = torch.arange(90) % 3
    images = F.one_hot(labels, 6) + 0.1 * torch.randn(90, 6)
    mixhead.monitor(torch.utils.data.TensorDataset(images, labels), teacher, every=2)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    for step in range(4):
        batch = torch.randn(8, 6, generator=torch.Generator().manual_seed(WORLD * step + dist.get_rank()))
        loss = (student(batch) - teacher(batch).detach()).square().mean() + student(batch).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    statistics = {name: each.clone() for name, each in teacher.named_buffers()}
    return {"scalars": mixhead.scalars(), "statistics": statistics}


def rank(place: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/group", rank=place, world_size=WORLD)
    torch.save({name: train(wrap) for name, wrap in WRAPPERS.items()}, f"{folder}/{place}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, object]]]:
    """What each rank has at the end, by wrapper."""
    folder = tmp_path_factory.mktemp("ranks")
    spawn(rank, (str(folder),), WORLD)
    return [torch.load(folder / f"{place}.pt") for place in range(WORLD)]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_rank_measures(ranks: list[dict[str, dict[str, object]]], wrapper: str):
    first, second = (each[wrapper]["scalars"] for each in ranks)
    assert first["mixhead/knn"] > 0.9
    assert first == pytest.approx(second, rel=0.1)  # each has running statistics of its own


def test_ranks_do_not_exchange_statistics_for_it(ranks: list[dict[str, dict[str, object]]]):
    first, second = (each["ddp"]["statistics"]["module.1.running_mean"] for each in ranks)
    assert not torch.equal(first, second)
