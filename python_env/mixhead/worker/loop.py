"""The training loop of one rank: augment, embed, ask the plugin, learn; and do what the plugin commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mixhead.bridge.client import Client
from mixhead.worker import checkpoint
from mixhead.worker.augment import Crop, augment
from mixhead.worker.config import Assignment, Config, parse_assignment
from mixhead.worker.data import Dataset, load
from mixhead.worker.errors import BadInput, WorkerError, WriteFailed
from mixhead.worker.feed import Feed
from mixhead.worker.frozen import Frozen, freeze
from mixhead.worker.measure import measure
from mixhead.worker.methods import ibot
from mixhead.worker.network import Network, PatchNetwork
from mixhead.worker.probe import probe
from mixhead.worker.randomness import generator
from mixhead.worker.spans import Spans
from mixhead.worker.step import (
    State,
    choose_device,
    finish,
    learn_online,
    measured,
    start,
    student_rows,
    teacher_pass,
)

#: Between two tries to write a checkpoint.
_RETRY_SECONDS = 5


def train(client: Client, rank: int, span: Spans) -> None:
    """Connects and trains until the plugin says stop; ``span`` times the parts of each step.

    Raises WorkerError or one of the bridge's errors.
    """
    welcome = client.connect()
    try:
        assignment = parse_assignment(welcome.config)
        config = assignment.config
        dataset = load(config.data, assignment.data_dir, config.views.global_size, config.seed)
        state = prepare(assignment, welcome.step, welcome.prototypes, len(dataset.class_names))
    except WorkerError as error:
        raise BadInput(str(error)) from error
    stopped = obey(welcome.commands, client, state, dataset, assignment)

    timing: dict[str, float] = {}
    with Feed(dataset, config.train.batch, config.seed, rank) as feed:
        while not stopped:
            t = state.step
            epoch = t * config.train.batch // len(dataset.train_images)
            with span("step", t):
                with span("load"):
                    images, labels = feed.of(t)
                with span("augment"):
                    views = draw_views(config, dataset, images.to(state.device), t, rank)
                    mask = draw_mask(config, state.student, t, rank, state.device)
                with span("teacher"):
                    features, h = teacher_pass(state, views[:1], mask)
                with span("announce"):
                    sent = None if state.mirror is None else h
                    stays = len(h) if sent is not None and config.placement == "device" else 0
                    client.send_embeddings(t, epoch, sent, {**measured(state), **timing}, stays)
                with span("student"):
                    z = student_rows(state, views, mask)
                    learn_online(state, features, labels.to(state.device))
                with span("wait"):
                    answer = client.receive_targets(t)
                with span("loss"):
                    finish(state, h, z, answer, mask)
            timing = {f"{part}Seconds": span.seconds[part] for part in ("step", "load", "wait")}
            stopped = obey(answer.commands, client, state, dataset, assignment)


def prepare(assignment: Assignment, step: int, prototypes: np.ndarray | Tensor | None, classes: int) -> State:
    """The state at the step that the plugin expects next: the start, or where the checkpoint was written."""
    state = start(assignment.config, choose_device(assignment.config.device), classes)
    if assignment.resume is not None:
        checkpoint.restore(state, assignment.resume)
    if state.step != step:
        raise WorkerError(f"the plugin expects step {step}, but the worker's state is at step {state.step}")
    if state.mirror is not None and prototypes is not None:
        state.mirror.update(torch.as_tensor(prototypes))
    return state


def draw_views(config: Config, dataset: Dataset, images: Tensor, step: int, rank: int) -> list[Tensor]:
    """A step's views, on the device of its images (B, 3, H, W): a tensor a resolution, global ones first."""
    mean, std = (torch.tensor(of, device=images.device) for of in (dataset.mean, dataset.std))
    random = generator(config.seed, "augment", step, rank)
    return [augment(images, crop, mean, std, random) for crop in crops(config)]


def draw_mask(config: Config, network: Network, step: int, rank: int, device: torch.device) -> Tensor | None:
    """Which patches of step's global views the student does not see; None where the method hides none."""
    if not isinstance(network, PatchNetwork):
        return None
    return ibot.draw_mask(config, network.grid(config.views.global_size), step, rank).to(device)


def crops(config: Config) -> Iterator[Crop]:
    """The resolutions of a step's views, the global one first."""
    views = config.views
    yield Crop(views.global_, views.global_size, views.global_scale)
    if views.local:
        yield Crop(views.local, views.local_size, views.local_scale)


def obey(commands: list[str], client: Client, state: State, dataset: Dataset, assignment: Assignment) -> bool:
    """Carries out the commands in order, each answered by a result. True where the run ends with them."""
    frozen: Frozen | None = None
    for command in commands:
        began = time.perf_counter()
        scalars = measured(state)
        text: dict[str, str] = {}
        tensors: dict[str, np.ndarray] = {}
        if command in ("evaluate", "probe") and frozen is None:
            frozen = freeze(state.teacher, dataset, state.config.views.global_size, state.device)
        if command == "evaluate":
            measurement = measure(state, dataset, frozen)
            scalars, tensors = {**scalars, **measurement.scalars}, measurement.tensors
            text = measurement.text
        elif command == "probe":
            figures, tensors = probe(state, dataset, frozen, assignment.data_dir)
            text = {"evaluation": json.dumps(figures, separators=(",", ":"))}
        elif command == "checkpoint":
            text["path"] = str(save(client, state, assignment))
        scalars["seconds"] = time.perf_counter() - began
        client.send_result(command, state.step, scalars, text, tensors)
    return "stop" in commands


def save(client: Client, state: State, assignment: Assignment) -> Path:
    """A checkpoint's folder. The plugin hears of a disk that does not take it; the worker tries again, or
    raises WriteFailed where it is not to wait."""
    while True:
        try:
            return checkpoint.save(state, assignment.checkpoint_dir)
        except WriteFailed as error:
            client.send_result("checkpoint", state.step, {}, {"failed": str(error)}, {})
            if state.config.train.disk_full != "wait":
                raise
            time.sleep(_RETRY_SECONDS)
