"""What a step of a joint arm is made of: fetching images, augmenting them, and all the rest; medians in ms.

`python bench/views.py CONFIG DATA_DIR`, the configuration as JSON: a row of the table in docs/experiments.md.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from statistics import median

import torch
from mixhead.worker.config import Config, parse
from mixhead.worker.data import load
from mixhead.worker.feed import fetch
from mixhead.worker.loop import draw_views
from mixhead.worker.step import choose_device, finish, start, student_rows, teacher_rows

STEPS, WARM_UP = 40, 10


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


def main(config: Config, data_dir: str) -> None:
    device = choose_device(config.device)
    dataset = load(config.data, data_dir, config.views.global_size, config.seed)
    state = start(config, device)
    marks: list[list[float]] = []

    def mark() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        marks[-1].append(time.perf_counter())

    for step in range(WARM_UP + STEPS):
        marks.append([])
        mark()
        images, _ = fetch(dataset, config.train.batch, config.seed, step, rank=0)
        mark()
        views = draw_views(config, dataset, images.to(device), step, rank=0)
        mark()
        finish(state, teacher_rows(state, views[:1]), student_rows(state, views), CLOCK)
        mark()
    counted = [[1e3 * (b - a) for a, b in zip(row, row[1:], strict=False)] for row in marks[WARM_UP:]]
    fetched, augmented, rest = (median(column) for column in zip(*counted, strict=True))
    share = median(row[1] / sum(row) for row in counted)
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    )
    print(
        f"| {name} | {config.encoder.name} | {config.train.batch} | {fetched:.1f} | {augmented:.1f} "
        f"| {rest:.1f} | {100 * share:.0f} % |"
    )


if __name__ == "__main__":
    main(parse(Config, json.loads(sys.argv[1]), ""), sys.argv[2])
