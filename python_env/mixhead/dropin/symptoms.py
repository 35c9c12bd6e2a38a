"""Detects symptoms of a failing training in what a mixture sees. Each causes one warning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

#: Steps between two looks at rows and prototypes. A look reads a few numbers from their device and so waits
#: for it; the other steps read nothing.
LOOK_EVERY = 50
#: Steps that a symptom has to last: the first batches of a healthy training may show any of them.
LASTING = 200
#: Largest healthy mean cosine of two rows. A working head stays far below. At .98 two images are 11 degrees
#: apart, closer than two views of one image.
ALIKE = 0.98
#: Largest healthy entropy, as a share of ln K. Responsibilities spread over K^.95 components say nothing
#: about a row.
FLAT = 0.95
#: Smallest healthy movement of the sum of the prototypes between two looks. It is above rounding, and a
#: thousandth of the movement of a single component that follows its rows.
STILL = 1e-5
#: Smallest healthy share of components in use.
IDLE = 0.05
#: The number of steps that the plugin's `used` covers, and the number of steps before it is judged, since
#: components come into use slowly.
WINDOW, SETTLED = 500, 1000
#: Rows per component in a window that are needed to judge `used`. With 30, a training that went well had 5 %
#: of 4,096 components in use. The components then outnumber what the rows can feed, and nothing is wrong.
ROWS_EACH = 100


@dataclass
class _Lasting:
    """Counts the steps in a row for which a condition holds."""

    steps: int = 0

    def saw(self, holds: bool, steps: int = 1) -> bool:
        """Whether the condition has held for LASTING steps. `steps`: the number that this call covers."""
        self.steps = self.steps + steps if holds else 0
        return self.steps >= LASTING


class Symptoms:
    """Watches the rows that a mixture is sent and the answers of the plugin.

    warn: called with the sentence of each symptom, once.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._shown: set[str] = set()
        self._steps = self._rows = self._components = 0
        self._alike, self._flat, self._still = _Lasting(), _Lasting(), _Lasting()
        self._sum: list[float] = []

    def sends(self, rows: Tensor, prototypes: Tensor, moves: bool = True) -> None:
        """Looks at a step that is being sent: unit rows (N, D), and the prototypes (K, D) before the step.

        moves: whether the plugin ever moves its prototypes.
        """
        self._components = len(prototypes)
        self._steps += 1
        self._rows += len(rows)
        if self._steps % LOOK_EVERY == 0 and len(rows) > 1:
            self._look(rows, prototypes, moves)

    def answers(self, scalars: Mapping[str, float]) -> None:
        """Looks at the plugin's figures for a step.

        "entropy": of the responsibilities, in nats. "used": the share of components that won a row in the
        last WINDOW steps. "beta": below 1 while annealing flattens the responsibilities."""
        most = math.log(max(self._components, 1))
        entropy = scalars.get("entropy", math.nan)
        if self._flat.saw(entropy > FLAT * most > 0 and scalars.get("beta", 1) >= 1):
            self._tell(
                "flat",
                f"the entropy of its responsibilities is {entropy:.2f} and has been near ln K = {most:.2f} "
                f"for {LASTING} steps. So all {self._components} components share every row and become "
                "alike: lower plugin.variance",
            )
        used = scalars.get("used", math.nan)
        enough = self._rows * WINDOW >= ROWS_EACH * self._components * self._steps
        if used < IDLE and self._steps >= SETTLED and enough:
            self._tell(
                "idle",
                f"{used:.1%} of its {self._components} components have won a row in the last {WINDOW} steps, "
                f"after {self._rows:,} rows in {self._steps:,} steps. So a few do all the work, which lowers "
                'the loss but not the error. Use norm="batch" in the heads and a loss that balances its '
                "targets (SinkhornDINOLoss), or fewer components",
            )

    def _look(self, rows: Tensor, prototypes: Tensor, moves: bool) -> None:
        cosine, total = _figures(rows, prototypes)
        moved = max((abs(now - then) for now, then in zip(total, self._sum, strict=False)), default=math.inf)
        if self._alike.saw(cosine > ALIKE, LOOK_EVERY):
            self._tell(
                "alike",
                f"the teacher's rows are all alike: their mean cosine is {cosine:.3f} and has been above "
                f"{ALIKE} for {LASTING} steps. So the encoder has collapsed, or its head squeezes all images "
                "into a cone. A centred or balanced loss then stays at "
                f"ln K = {math.log(self._components):.2f}. "
                'Use norm="batch" in the heads, or a lower learning rate',
            )
        if self._still.saw(moves and moved < STILL, LOOK_EVERY):
            self._tell(
                "still",
                f"its prototypes have not moved in {LASTING} steps, although each step had rows. So the "
                "student learns from a mixture that does not follow its teacher: "
                "lower plugin.prior.strength, or look for warnings about refused rows",
            )
        self._sum = total

    def _tell(self, sign: str, sentence: str) -> None:
        if sign not in self._shown:
            self._shown.add(sign)
            self._warn(sentence)


@torch.no_grad()
def _figures(rows: Tensor, prototypes: Tensor) -> tuple[float, list[float]]:
    """The mean cosine of two different unit rows (N, D), and the sum (D) of the prototypes (K, D)."""
    n = len(rows)
    cosine = (rows.float().sum(dim=0).square().sum() - n) / (n * (n - 1))
    first, *total = torch.cat([cosine.unsqueeze(0), prototypes.sum(dim=0).to(rows.device)]).tolist()
    return first, total
