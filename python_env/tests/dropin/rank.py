"""One rank of a training for test_distributed.py: `python -m tests.dropin.rank FOLDER PLACEMENT SCENARIO...`.

What a scenario gives is written to FOLDER/SCENARIO-RANK-of-WORLD.pt.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import mixhead
from mixhead.dropin import machines
from mixhead.dropin.norm import EmbeddingNorm
from mixhead.dropin.norm import normed as normed_rows
from mixhead.dropin.registry import mixture
from mixhead.dropin.steps import Steps
from tests.dropin.heads import DIM, IN, K, lightly_head, with_teacher

folder, placement = Path(sys.argv[1]), sys.argv[2]
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
DEADLINE = float(os.environ.get("DEADLINE", 90))


def attach(**config: object) -> None:
    own = {"bridge": {"deadline": DEADLINE}, "backend": "wasm", "placement": placement}
    mixhead.attach(config=own | config)


def heads(**options: object) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    return with_teacher(lightly_head(**options))


def share(rows: Tensor) -> Tensor:
    """This rank's part of a batch."""
    return rows.chunk(world)[rank]


def batch(step: int, rows: int = 16, dim: int = IN) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(step))


def train(steps: range, student: torch.nn.Module, teacher: torch.nn.Module) -> None:
    trained = DistributedDataParallel(student) if world > 1 else student
    optimizer = torch.optim.SGD(student.parameters(), 0.05)
    for step in steps:
        views = [share(batch(2 * step + view)) for view in range(2)]
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


def trained_and_resumed() -> list[Tensor]:
    """20 steps, the last ten of them twice, from a checkpoint that rank 0 has written."""
    attach()
    student, teacher = heads()
    teacher.load_state_dict(student.state_dict())
    train(range(10), student, teacher)
    checkpoint = folder / "checkpoint.pt"
    if rank == 0:
        torch.save([student.state_dict(), teacher.state_dict()], checkpoint)
    if world > 1:
        dist.barrier()
    results = []
    for _ in range(2):
        for head, state in zip((student, teacher), torch.load(checkpoint), strict=True):
            head.load_state_dict(state)
        train(range(10, 20), student, teacher)
        with torch.no_grad():
            teacher(torch.ones(2, IN))  # begins the next step, with the prototypes that the last one has left
        student(torch.ones(2, IN))
        parameters = [parameter.detach().clone() for parameter in student.parameters()]
        results.append([mixhead.prototypes(), *parameters])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    return results[0]


def fed(batches: Iterator[Tensor]) -> Iterator[Steps]:
    """A step of a mixture of K x DIM for each batch of this rank's rows."""
    the = mixture("default").steps
    mixture("default").attachment.components = K
    target = mixhead.teacher(torch.nn.Linear(DIM, DIM, bias=False).requires_grad_(False))
    torch.nn.init.eye_(target.weight)
    for rows in batches:
        target(rows)
        mixhead.step()
        yield the
    the._next_step()


def uneven() -> list[Tensor]:
    """Ranks with different numbers of rows; in one step rank 0 has none, in another nobody has."""
    attach(targets={"balance": "sinkhorn"})
    made = []
    counts = [16, 3, 0, 9, 0, 8]  # rank 0's
    totals = [16, 16, 16, 16, 0, 16]

    def rows() -> Iterator[Tensor]:
        for step, (count, total) in enumerate(zip(counts, totals, strict=True)):
            if total == 0 and placement == "host":
                continue  # there no rank of several can know that nobody has any
            whole = batch(step, total, DIM)
            yield whole if world == 1 else (whole[:count], whole[count:])[rank]

    made.extend(mixhead.targets() for _ in fed(rows()))
    return [mixhead.prototypes(), *made]


def perturbed() -> list[Tensor]:
    """Rank 1's prototypes are changed by hand at step 3: how far apart the two are, step by step."""
    attach()
    return [_apart(range(8), at=3, component=slice(None))]


def perturbed_unnoticed() -> list[Tensor]:
    """A change that no figure of a step shows, of a component that wins no row."""
    attach(plugin={"kind": "frozen", "variance": 0.002})
    return [_apart(range(103), at=50, component=_unseen)]


def _unseen(prototypes: Tensor) -> int:
    return int((F.normalize(batch(0, 16, DIM), dim=1) @ prototypes.T).max(dim=0).values.argmin())


def _apart(steps: range, at: int, component: object) -> Tensor:
    distances = []
    for step, the in zip(steps, fed(share(batch(0, 16, DIM)) for _ in steps), strict=False):
        the._next_step()
        if step == at and rank == 1:
            prototypes = mixture("default").attachment.connection._client._device.executor.prototypes
            prototypes[component(prototypes) if callable(component) else component] *= 1.01
        ours = the.prototypes(torch.device("cpu"), torch.float32)
        both = [torch.empty_like(ours) for _ in range(world)]
        dist.all_gather(both, ours.contiguous())
        distances.append((both[0] - both[1]).abs().max())
    return torch.stack(distances)


def normed() -> list[Tensor]:
    """Rows behind the norm of all ranks, and their gradients. Rank 0 has one row, none, or only padding."""
    made = []
    norm = EmbeddingNorm(DIM, across_ranks=True)
    for count, padded in ((1, 0), (0, 0), (4, 4)):
        whole = batch(count, 12, DIM) + 2
        padding = torch.arange(12) < padded
        own = slice(None) if world == 1 else (slice(count), slice(count, None))[rank]
        rows = whole[own].requires_grad_()
        output = normed_rows(norm, rows, padding[own], True)
        (output[~padding[own]] * batch(count, 12, DIM)[own][~padding[own]]).square().sum().backward()
        made.extend([output.detach(), rows.grad])
    return [norm.running_mean, norm.running_var, *made]


def saved_by_all() -> list[Tensor]:
    """Every rank builds its state dict, one of them while the other waits for it elsewhere."""
    attach()
    student, teacher = heads()
    train(range(2), student, teacher)
    states = []
    for first in (0, 1):
        if rank != first:
            dist.barrier()
        states.append(student.state_dict())
        if rank == first:
            dist.barrier()
    train(range(2, 4), student, teacher)
    return [*states[0].values(), *states[1].values()]


def joined_late() -> list[Tensor]:
    """Rank 0 has saved what it begins with, and fed its first rows, before rank 1 uses its head."""
    attach()
    student, teacher = heads()
    if rank == 0:
        student.state_dict()
    else:
        time.sleep(2)
    train(range(3), student, teacher)
    return [mixhead.prototypes()]


def forward() -> list[Tensor]:
    """Steps without a gradient: the ranks have nothing to do with each other but by their mixture."""
    attach()
    student, teacher = heads()
    for step in range(2):
        with torch.no_grad():
            teacher(share(batch(step)))
            student(share(batch(step)))
    return []


def elsewhere() -> list[Tensor]:
    """Rank 1 is on another machine, or so it believes. It comes late, when rank 0 waits for it."""
    if rank == 1:
        machines.this_machine = lambda: "other-host boot"
        time.sleep(1)
    return forward()


def moved() -> list[Tensor]:
    """Heads that go to another device once the mixture is there. The ranks have none, but believe so."""
    attach()
    student, teacher = heads()
    student.state_dict()
    mixture("default").attachment.connection.device = torch.device("cuda")
    train(range(3), student, teacher)
    return [mixhead.prototypes()]


def dies() -> list[Tensor]:
    """The rank that the environment names ends at step 1, in the way that it names."""
    attach()
    student, teacher = heads()
    for step in range(4):
        if step == 1:
            mixture("default").steps.receive()
            dist.barrier()  # however slow the start was
            if rank == int(os.environ["VICTIM"]):
                os.kill(os.getpid(), getattr(signal, os.environ["HOW"]))
        with torch.no_grad():
            teacher(share(batch(step)))
        student(share(batch(step)))
    return []


def plugin_dies() -> list[Tensor]:
    """Rank 0's plugin is killed after a step."""
    attach()
    student, teacher = heads()
    for step in range(4):
        if step == 1:
            mixture("default").steps.receive()
            dist.barrier()
            if rank == 0:
                mixture("default").attachment.connection._plugin._process.kill()
        with torch.no_grad():
            teacher(share(batch(step)))
        student(share(batch(step)))
    return []


torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo")
for scenario in sys.argv[3:]:
    torch.save(globals()[scenario](), folder / f"{scenario}-{rank}-of-{world}.pt")
