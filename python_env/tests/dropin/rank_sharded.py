"""One rank of a sharded training for test_sharded.py: `python -m tests.dropin.rank_sharded FOLDER PLACEMENT
SCENARIO`. Two ranks train and save a distributed checkpoint; one goes on from it."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import mixhead
from mixhead.dinov3 import DINOHead
from mixhead.dropin.registry import mixture

folder, placement, scenario = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
IN, DIM, K = 12, 8, 48


def make() -> nn.ModuleDict:
    torch.manual_seed(1)
    sizes = dict(in_dim=IN, out_dim=K, hidden_dim=16, bottleneck_dim=DIM)
    heads = {
        who: DINOHead(**sizes, prototypes="online-gmm", norm="syncbatch") for who in ("student", "teacher")
    }
    heads["student"].init_weights()
    heads["teacher"].load_state_dict(heads["student"].state_dict())
    heads["teacher"].requires_grad_(False)
    return nn.ModuleDict(heads)


def sharded(model: nn.ModuleDict) -> nn.ModuleDict:
    mesh = init_device_mesh("cpu", (world,))
    for who in ("student", "teacher"):
        if scenario == "fsdp1":
            model[who] = FullyShardedDataParallel(
                model[who], use_orig_params=True, device_id=torch.device("cpu")
            )
        else:
            fully_shard(model[who], mesh=mesh)
    return model


def train(model: nn.ModuleDict, steps: range) -> None:
    optimizer = torch.optim.SGD(model["student"].parameters(), 0.05)
    for step in steps:
        x = torch.randn(16, IN, generator=torch.Generator().manual_seed(step)).chunk(world)[rank]
        with torch.no_grad():
            target = model["teacher"](x)
        loss = (model["student"](x) - target.flip(0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


torch.set_num_threads(1)
dist.init_process_group("gloo")
mixhead.attach(config={"backend": "wasm", "placement": placement, "bridge": {"deadline": 60}})
model = make() if world == 1 else sharded(make())
checkpoint = folder / "checkpoint"
if world == 2:
    keys = list(get_model_state_dict(model))
    train(model, range(4))
    state = get_model_state_dict(model)
    assert list(state) == keys
    dcp.save(state, checkpoint_id=checkpoint)
else:
    state = get_model_state_dict(model)
    dcp.load(state, checkpoint_id=checkpoint)
    set_model_state_dict(model, state)
taken = mixture("default").save()[1].step
prototypes = mixhead.prototypes() if world == 1 else mixture("default").save()[0].clone()
train(model, range(4, 7))
last = mixture("default").save()
torch.save(
    {"taken": taken, "prototypes": prototypes, "last": last[0].clone(), "steps": last[1].step},
    folder / f"{world}-{rank}.pt",
)
dist.barrier()
dist.destroy_process_group()
