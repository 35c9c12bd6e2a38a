"""One rank for test_ranks.py: `python -m tests.worker.rank DATA FOLDER`, with RANK and WORLD_SIZE set.

Each training's last state goes to FOLDER/NAME-WORLD-RANK.pt.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mixhead.mirror import Mirror
from mixhead.worker.data import Dataset, load
from mixhead.worker.feed import fetch
from mixhead.worker.frozen import freeze
from mixhead.worker.loop import contribution, draw_mask, draw_views, own_targets
from mixhead.worker.measure import measure
from mixhead.worker.ranks import ALONE, Ranks, order_of, ranks_of
from mixhead.worker.state import State, choose_device, start
from mixhead.worker.step import finish, learn_online, measured, student_rows, teacher_pass
from tests.worker.runs import Reply, clock, config, reply, start_rows

STEPS = 4  # of so small batches; more of them make rounding large (ranks.test.ts trains for longer)
VIT = {"encoder": {"name": "vit-tiny-32"}}
JOINT = {"prototypes": "joint"}

#: What is trained, by name.
TRAININGS: dict[str, dict[str, Any]] = {
    "dino": {},
    "dino, center": {"targets": {"balance": "center"}},
    "dino, memory": {"targets": {"memory": 40}},
    "dino, plugin's targets": {"targets": {"by": "plugin"}},
    "dino, plugin's targets, device": {"targets": {"by": "plugin"}, "placement": "device"},
    "dino, joint": {**JOINT, "train": {"koleo": 0.1}},
    "swav": {"method": "swav"},
    "swav, joint": {"method": "swav", **JOINT},
    "carp": {"method": "carp"},
    "carp, joint, block": {"method": "carp", **JOINT, "carp": {"balance": "block"}},
    "msn": {"method": "msn"},
    "pmsn, joint": {"method": "pmsn", **JOINT},
    "ibot": {"method": "ibot", **VIT, "plugin": {"components": 24}},
    "dino, own norms": {"train": {"syncNorms": False}},
}


def train(ranks: Ranks, data: Path, changes: dict[str, Any]) -> tuple[State, Dataset]:
    """Some steps with a plugin whose answers are functions of the rows of all ranks."""
    settings = {"train": {}, **changes}
    settings["train"] = {"batch": 8, "clip": 3, **settings["train"]}
    settings = config(**settings)
    dataset = load(settings.data, str(data), settings.views.global_size, settings.seed)
    state = start(settings, choose_device("cpu"), 10, ranks)
    prototypes = start_rows()
    if state.mirror is not None:
        state.mirror = Mirror(prototypes)
    for group in state.optimizer.param_groups:
        group["eps"] = 1e-3  # so that a gradient that is rounding alone is not made a step of
    for step in range(STEPS):
        images, labels = fetch(dataset, settings.train.batch, settings.seed, step, ranks)
        views = draw_views(settings, dataset, images, step, ranks)
        of_all = draw_mask(settings, state.student, step)
        mask = None if of_all is None else ranks.own(of_all, settings.views.global_)
        order = order_of(ranks, settings.train.batch, settings.views.global_, of_all)
        features, h = teacher_pass(state, views[:1], mask)
        values = {**clock(step), "lr": 3e-4}
        answer = Reply(values)
        rows, _ = contribution(state, order, h)
        if rows is not None:
            whole = order.whole(h)
            answer = replace(reply(step, whole, prototypes), scalars=values)
            targets = torch.as_tensor(answer.targets)
            if settings.placement != "device":
                targets = targets[ranks.part(len(whole))]
            assert len(rows) == len(targets)
            answer = own_targets(state, order, replace(answer, targets=targets))
        z = student_rows(state, views, mask)
        learn_online(state, features, labels)
        finish(state, h, z, answer, mask)
    return state, dataset


def evaluated(state: State, dataset: Dataset, ranks: Ranks) -> dict[str, float] | None:
    frozen = freeze(state.teacher, dataset, state.config.views.global_size, state.device, ranks)
    return frozen and measure(state, dataset, frozen).scalars


if __name__ == "__main__":
    ranks = ranks_of(os.environ)
    ranks.begin(torch.device("cpu"))
    data, folder = map(Path, sys.argv[1:])
    for name, changes in TRAININGS.items():
        state, dataset = train(ranks, data, changes)
        left = {"student": state.student.state_dict(), "teacher": state.teacher.state_dict()}
        left |= {"measured": measured(state)}
        if name in ("dino", "dino, own norms"):
            left |= {"together": evaluated(state, dataset, ranks), "alone": evaluated(state, dataset, ALONE)}
        torch.save(left, folder / f"{name}-{ranks.world}-{ranks.rank}.pt")
    ranks.end()
