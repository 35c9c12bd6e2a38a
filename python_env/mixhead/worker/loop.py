"""The training loop of one rank: augment, embed, ask the plugin, learn, carry out the plugin's commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mixhead.bridge.client import Client, Welcome
from mixhead.bridge.protocol import Command
from mixhead.bridge.targets import Targets
from mixhead.mirror import Mirror
from mixhead.worker import checkpoint
from mixhead.worker.augment import Crop, augment
from mixhead.worker.config import Assignment, Config, parse_assignment
from mixhead.worker.data import Dataset, load
from mixhead.worker.errors import BadInput, WorkerError, WriteFailed
from mixhead.worker.feed import Feed
from mixhead.worker.frozen import Frozen, freeze
from mixhead.worker.measure import measure
from mixhead.worker.methods import method_of
from mixhead.worker.network import Network, PatchNetwork
from mixhead.worker.probe import probe
from mixhead.worker.randomness import generator
from mixhead.worker.ranks import ALONE, Order, Ranks, order_of
from mixhead.worker.spans import Spans
from mixhead.worker.state import State, choose_device, start
from mixhead.worker.step import finish, learn_online, measured, student_rows, teacher_pass

#: Seconds between two attempts to write a checkpoint.
_RETRY_SECONDS = 5


def train(client: Client, welcome: Welcome, ranks: Ranks, device: torch.device, span: Spans) -> None:
    """Trains until the plugin commands to stop.

    Args:
        client: The connection to the plugin.
        welcome: The plugin's answer when this rank joined.
        ranks: The ranks of the run.
        device: The device to train on.
        span: Times the parts of each step.

    Raises:
        BadInput: If the configuration, the data set or a checkpoint cannot be used.
        WorkerError: If the training fails.
        BridgeError: If the connection to the plugin fails.
    """
    try:
        assignment = parse_assignment(welcome.config)
        config = assignment.config
        method_of(config)
        check_world(config, ranks)
        if choose_device(config.device).type != device.type:
            raise WorkerError(
                f"device: the run has device={config.device}, and this rank is on {device.type}: "
                f"start it with --device {config.device}"
            )
        ranks.begin(device, assignment.meeting)
        dataset = load(config.data, assignment.data_dir, config.views.global_size, config.seed)
        classes = len(dataset.class_names)
        state = prepare(assignment, welcome.step, welcome.prototypes, classes, device, ranks)
    except WorkerError as error:
        raise BadInput(str(error)) from error
    stopped = obey(welcome.commands, client, state, dataset, assignment)

    timing: dict[str, float] = {}
    with Feed(dataset, config.train.batch, config.seed, ranks) as feed:
        while not stopped:
            t = state.step
            epoch = t * config.train.batch // len(dataset.train_images)
            with span("step", t):
                with span("load"):
                    images, labels = feed.of(t)
                with span("augment"):
                    views = draw_views(config, dataset, images.to(device), t, ranks)
                    of_all = draw_mask(config, state.student, t)
                    mask = None if of_all is None else ranks.own(of_all, config.views.global_).to(device)
                    order = order_of(ranks, config.train.batch, config.views.global_, of_all)
                with span("teacher"):
                    features, h = teacher_pass(state, views[:1], mask)
                with span("announce"):
                    rows, announced = contribution(state, order, h)
                    client.send_embeddings(t, epoch, rows, {**measured(state), **timing}, announced)
                with span("student"):
                    z = student_rows(state, views, mask)
                    learn_online(state, features, labels.to(device))
                with span("wait"):
                    answer = client.receive_targets(t)
                with span("loss"):
                    finish(state, h, z, own_targets(state, order, answer), mask)
            timing = {f"{part}Seconds": span.seconds[part] for part in ("step", "load", "wait")}
            stopped = obey(answer.commands, client, state, dataset, assignment)


def check_world(config: Config, ranks: Ranks) -> None:
    """Raises WorkerError if the ranks cannot share a batch evenly."""
    batch, world = config.train.batch, ranks.world
    if batch % world:
        shared = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
        raise WorkerError(
            f"train.batch is {batch}, which {world} ranks cannot share evenly; allowed worlds: {shared}"
        )


def prepare(
    assignment: Assignment,
    step: int,
    prototypes: np.ndarray | Tensor | None,
    classes: int,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> State:
    """Prepares the state for the step that the plugin expects next, from a checkpoint if there is one.

    Raises WorkerError if the checkpoint cannot be used, or is from another step.
    """
    state = start(assignment.config, device, classes, ranks)
    if assignment.resume is not None:
        checkpoint.restore(state, assignment.resume)
    if state.step != step:
        raise WorkerError(f"the plugin expects step {step}, but the worker's state is at step {state.step}")
    if state.mirror is not None and prototypes is not None:
        state.mirror = Mirror(torch.as_tensor(prototypes).to(device))
    return state


def draw_views(
    config: Config, dataset: Dataset, images: Tensor, step: int, ranks: Ranks = ALONE
) -> list[Tensor]:
    """The views of a rank's images (b, 3, H, W), on their device: one tensor per resolution, global first."""
    mean, std = (torch.tensor(of, device=images.device) for of in (dataset.mean, dataset.std))
    random = generator(config.seed, "augment", step)
    return [augment(images, crop, mean, std, random, ranks) for crop in crops(config)]


def draw_mask(config: Config, network: Network, step: int) -> Tensor | None:
    """Which patches of all ranks' global views are hidden from the student; None if the method hides none."""
    draw = method_of(config).mask
    if draw is None:
        return None
    assert isinstance(network, PatchNetwork)
    return draw(config, network.grid(config.views.global_size), step)


def contribution(state: State, order: Order, h: Tensor) -> tuple[Tensor | None, int]:
    """This rank's contribution to the mixture's step, from its teacher's rows h (n, D).

    The mixture receives the rows of all ranks in the order that they would have in a single rank. So each
    rank sends a slice of this order, which may include rows of other ranks. If the mixture is computed on the
    ranks' devices, each rank keeps all rows and announces their number.

    Returns:
        The rows to send or to keep, None in the joint arm; and the number of rows to announce.
    """
    if state.mirror is None:
        return None, 0
    whole = order.whole(h)
    if state.config.placement == "device":
        return whole, len(whole)
    return whole[state.ranks.part(len(whole))], 0


def own_targets(state: State, order: Order, answer: Targets) -> Targets:
    """Replaces the targets of the rows that this rank sent by those of its own teacher's rows."""
    if answer.targets is None or state.ranks.world == 1:
        return answer
    made = torch.as_tensor(answer.targets).to(state.device)
    if state.config.placement != "device":
        total = len(order.owners)
        parts = [state.ranks.part_of(rank, total) for rank in range(state.ranks.world)]
        made = state.ranks.gather(made, [part.stop - part.start for part in parts])
    return replace(answer, targets=order.own(made))


def crops(config: Config) -> Iterator[Crop]:
    """The resolutions of a step's views, the global one first."""
    views = config.views
    yield Crop(views.global_, views.global_size, views.global_scale)
    if views.local:
        yield Crop(views.local, views.local_size, views.local_scale)


def obey(
    commands: list[Command], client: Client, state: State, dataset: Dataset, assignment: Assignment
) -> bool:
    """Carries out the commands in order and sends a result for each. Returns whether the run ends with them.

    All ranks embed the images to evaluate. Rank 0 does the rest while the others wait.
    """
    ranks = state.ranks
    frozen: Frozen | None = None
    began = time.perf_counter()
    if "evaluate" in commands or "probe" in commands:
        frozen = freeze(state.teacher, dataset, state.config.views.global_size, state.device, ranks)
    for command in commands if ranks.first else ():
        scalars = measured(state)
        text: dict[str, str] = {}
        tensors: dict[str, np.ndarray] = {}
        if command == "evaluate":
            assert frozen is not None
            measurement = measure(state, dataset, frozen)
            scalars, tensors = {**scalars, **measurement.scalars}, measurement.tensors
            text = measurement.text
        elif command == "probe":
            assert frozen is not None
            figures, tensors = probe(state, dataset, frozen, assignment.data_dir)
            text = {"evaluation": json.dumps(figures, separators=(",", ":"))}
        elif command == "checkpoint":
            text["path"] = str(save(client, state, assignment))
        scalars["seconds"] = time.perf_counter() - began
        client.send_result(command, state.step, scalars, text, tensors)
        began = time.perf_counter()
    if commands:
        ranks.after_first(f"done/{state.step}")
    for command in () if ranks.first else commands:
        client.send_result(command, state.step)
    return "stop" in commands


def save(client: Client, state: State, assignment: Assignment) -> Path:
    """Writes a checkpoint and returns its folder.

    Reports a failure to the plugin. Then tries again with `train.diskFull` "wait", else raises WriteFailed.
    """
    while True:
        try:
            return checkpoint.save(state, assignment.checkpoint_dir)
        except WriteFailed as error:
            client.send_result("checkpoint", state.step, {}, {"failed": str(error)}, {})
            if state.config.train.disk_full != "wait":
                raise
            time.sleep(_RETRY_SECONDS)
