"""One rank of a training for test_distributed.py: `python -m tests.dropin.rank FOLDER MODE`."""

import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

import mixhead
from tests.dropin.heads import IN, lightly_head, with_teacher

folder, mode = Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if world > 1:
    dist.init_process_group("gloo")
mixhead.attach(config={"bridge": {"deadline": 90}, "backend": "wasm"})
torch.manual_seed(0)
student, teacher = with_teacher(lightly_head())
teacher.load_state_dict(student.state_dict())


def train(steps: range) -> None:
    trained = DistributedDataParallel(student) if mode == "train" and world > 1 else student
    optimizer = torch.optim.SGD(student.parameters(), 0.05)
    for step in steps:
        if mode == "dies" and step == 1 and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        generator = torch.Generator().manual_seed(step)
        views = [torch.randn(16, IN, generator=generator).chunk(world)[rank] for _ in range(2)]
        with torch.no_grad():
            targets = [teacher(view).softmax(dim=-1) for view in views]
        outputs = [trained(view) for view in views]
        loss = sum(F.cross_entropy(o / 0.1, t) for o, t in zip(outputs, reversed(targets), strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                ours.lerp_(theirs, 0.1)


train(range(4))
checkpoint = folder / "checkpoint.pt"
if rank == 0:
    torch.save([student.state_dict(), teacher.state_dict()], checkpoint)
if world > 1:
    dist.barrier()
results = []
for _ in range(2):
    for head, state in zip((student, teacher), torch.load(checkpoint), strict=True):
        head.load_state_dict(state)
    train(range(4, 8))
    with torch.no_grad():
        teacher(torch.ones(2, IN))  # begins the next step, with the prototypes that the last one has left
    student(torch.ones(2, IN))
    results.append(
        [mixhead.prototypes(), *(parameter.detach().clone() for parameter in student.parameters())]
    )
assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
torch.save(results[0], folder / f"result-{rank}-of-{world}.pt")
