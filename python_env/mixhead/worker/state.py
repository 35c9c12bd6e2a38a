"""The state of a training: networks, prototypes, optimizer, and what the last step measured."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mixhead.losses import Center, Sinkhorn
from mixhead.mirror import Mirror
from mixhead.norms import across_ranks
from mixhead.worker.config import Config
from mixhead.worker.errors import WorkerError
from mixhead.worker.network import Network, build_network
from mixhead.worker.online import OnlineProbe
from mixhead.worker.ranks import ALONE, Ranks


@dataclass
class State:
    """Everything that a step changes. ``measured``: the last step's measurements, for the plugin to log."""

    config: Config
    device: torch.device
    student: Network
    teacher: Network
    mirror: Mirror | None  # None in the joint arm, whose prototypes are the head's last layer
    center: Center
    sinkhorn: Sinkhorn
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    replica: nn.Module  # the student, or its wrapper that averages gradients over the ranks
    ranks: Ranks = ALONE
    online: OnlineProbe | None = None
    step: int = 0
    measured: dict[str, Tensor | float] = field(default_factory=dict)
    copied: torch.cuda.Event | None = None  # after which `measured` has been copied from the GPU


def choose_device(name: str) -> torch.device:
    """Chooses the device: "cpu", "cuda", or "auto", which is CUDA if available.

    On the CPU, makes every operation deterministic. Raises WorkerError if "cuda" is not available.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise WorkerError("device: this machine has no CUDA device; use device=cpu or device=auto")
    device = torch.device("cuda" if available and name != "cpu" else "cpu")
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        # This also fills every new tensor with NaN by default, which took a third of a step.
        deterministic = torch.utils.deterministic
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of a module
    return device


def start(config: Config, device: torch.device, classes: int = 0, ranks: Ranks = ALONE) -> State:
    """The state before the first step. All ranks have to call this together.

    Args:
        config: The run's configuration.
        device: The device to train on.
        classes: The number of classes of the data set. 0: there are no labels, so there is no online probe.
        ranks: The ranks of the run.

    Raises:
        WorkerError: If the network cannot be built.
    """
    student = build_network(config)
    if ranks.world > 1 and config.train.sync_norms:
        _take_norms_across_ranks(student, device)
    student = student.to(device).to(memory_format=torch.channels_last)
    teacher = copy.deepcopy(student).requires_grad_(False)
    components, dim = config.plugin.components, config.head.dim
    joint = config.prototypes == "joint"
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    # As in DINO, biases and the affine parameters of norms are not decayed.
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "decays": True},
        {"params": [p for p in trained if p.ndim <= 1], "decays": False},
    ]
    return State(
        config=config,
        device=device,
        student=student,
        teacher=teacher,
        mirror=None if joint else Mirror(torch.zeros(components, dim, device=device)),
        center=Center(components, device=device, across_ranks=True),
        sinkhorn=Sinkhorn(components, config.targets.memory, across_ranks=True).to(device),
        optimizer=torch.optim.AdamW([g for g in groups if g["params"]], fused=True),
        scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "float16"),
        replica=_replica(student, device, ranks),
        ranks=ranks,
        online=OnlineProbe(teacher.width, classes, device) if config.train.online_probe and classes else None,
    )


def _take_norms_across_ranks(network: Network, device: torch.device) -> None:
    try:
        network.encoder = across_ranks(network.encoder, on_gpu=device.type == "cuda")
    except ValueError as error:
        raise WorkerError(f"the encoder's {error}: set train.syncNorms=false") from error
    across_ranks(network.head, on_gpu=False)  # changes it in place, because the head is not a norm itself


def _replica(student: Network, device: torch.device, ranks: Ranks) -> nn.Module:
    if ranks.world == 1:
        return student
    # The only buffers are those of norms: either equal in all ranks, or each rank's own on purpose.
    gpu = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(student, device_ids=gpu, forward_sync_buffers=False)
