"""The parts of a step of a joint arm: fetching images, augmenting them, and the rest."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from mixhead.worker.config import Config, parse
from mixhead.worker.data import load
from mixhead.worker.feed import fetch
from mixhead.worker.loop import draw_views
from mixhead.worker.step import choose_device, finish, start, student_rows, teacher_rows
from rounds import say, synchronise

WARM_UP = 10


@dataclass
class Clock:
    """The plugin's answer to a joint arm."""

    scalars: dict[str, float]
    rows: None = None
    indices: None = None
    targets: None = None


CLOCK = Clock(
    {
        "lr": 0.001,
        "weightDecay": 0.04,
        "momentum": 0.99,
        "teacherTemperature": 0.04,
        "studentTemperature": 0.1,
        "freezePrototypes": 0.0,
    }
)


def steps(config: Config, data_dir: str) -> Iterator[dict[str, float]]:
    """Takes a step on request, and yields the milliseconds of its parts."""
    device = choose_device(config.device)
    dataset = load(config.data, data_dir, config.views.global_size, config.seed)
    state = start(config, device)

    def now() -> float:
        synchronise(device.type)
        return 1e3 * time.perf_counter()

    while True:
        began = now()
        images, _ = fetch(dataset, config.train.batch, config.seed, state.step)
        fetched = now()
        views = draw_views(config, dataset, images.to(device), state.step)
        augmented = now()
        finish(state, teacher_rows(state, views[:1]), student_rows(state, views), CLOCK)
        yield {"fetchMs": fetched - began, "augmentMs": augmented - fetched, "restMs": now() - augmented}


def main(config: Config, data_dir: str) -> None:
    parts = steps(config, data_dir)
    for _ in range(WARM_UP):
        next(parts)
    say({"threads": float(torch.get_num_threads())})
    for _ in sys.stdin:
        say(next(parts))


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    main(parse(Config, options["config"], ""), options["dataDir"])
