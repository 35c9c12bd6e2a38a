"""A step of a drop-in head: Meta's DINOHead with its loss, backward pass, AdamW and the teacher's average.

The features are random: an encoder would take the same time in both arms, so this figure leaves it out.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import mixhead
import torch
from mixhead.dino import DINOHead, SinkhornDINOLoss
from rounds import take_rounds

FEATURES = 384
GLOBAL_VIEWS = 2
BATCHES = 4


@dataclass(frozen=True)
class Options:
    prototypes: str
    components: int
    batch: int
    views: int
    device: str
    seconds: float = 2.0
    dim: int = 256
    attach: dict[str, Any] = field(default_factory=dict)


class HeadStep:
    """A step as in ``main_dino.train_one_epoch``: teacher on the global views, student on all views."""

    def __init__(self, options: Options) -> None:
        torch.manual_seed(0)
        if options.prototypes != "joint":
            mixhead.attach(config=options.attach)
        self.student = DINOHead(
            FEATURES,
            options.components,
            bottleneck_dim=options.dim,
            prototypes=options.prototypes,
            norm="batch",
        ).to(options.device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.trained = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self.averaged = [
            parameter
            for name, parameter in self.teacher.named_parameters()
            if self.student.get_parameter(name).requires_grad
        ]
        self.optimizer = torch.optim.AdamW(self.trained, fused=True)
        self.loss = SinkhornDINOLoss(options.components, options.views, 0.04, 0.04, 0, 1).to(options.device)
        rows = options.views * options.batch
        self.features = [torch.randn(rows, FEATURES, device=options.device) for _ in range(BATCHES)]
        self.teachers_rows = GLOBAL_VIEWS * options.batch
        self.taken = 0

    def __call__(self) -> None:
        features = self.features[self.taken % BATCHES]
        with torch.no_grad():
            targets = self.teacher(features[: self.teachers_rows])
        loss = self.loss(self.student(features), targets, 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, self.trained, 0.004)
        self.taken += 1


def wait_seconds(options: Options) -> float:
    """Seconds that the last step waited for the plugin."""
    return 0.0 if options.prototypes == "joint" else mixhead.stats()["wait"]


def main(options: Options) -> None:
    def measured() -> dict[str, float]:
        return {"waitMs": 1e3 * wait_seconds(options)}

    def rest() -> None:
        """Waits until the plugin has finished the last step: about as long as a step waits for it."""
        time.sleep(0 if options.prototypes == "joint" else 0.05 + 2 * wait_seconds(options))

    take_rounds(HeadStep(options), options.device, options.seconds, measured, rest)


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
