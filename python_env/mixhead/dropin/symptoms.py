"""Signs of a training that goes wrong, as far as a mixture sees them. Each is told once, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

#: Steps between two looks at rows and prototypes. A look reads a few numbers from their device, which waits
#: for it once; the other steps read nothing.
LOOK_EVERY = 50
#: A sign has to last so many steps: the first batches of a healthy training may show any of them.
LASTING = 200
#: Mean cosine of two rows. A head that works stays far below; at .98 two images are 11 degrees apart, less
#: than two views of one.
ALIKE = 0.98
#: Share of ln K. A row that is shared out over K^.95 components tells nothing by its responsibilities.
FLAT = 0.95
#: How far the sum of the prototypes moves between two looks, at least: more than rounding, and a thousandth
#: of what one component does that follows its rows.
STILL = 1e-5
#: Share of components in use.
IDLE = 0.05
#: Steps that the plugin's `used` looks back on; and so many have to have passed, since components come into
#: use slowly.
WINDOW, SETTLED = 500, 1000
#: Rows for each component in a window. With 30, a training that went well had 5 % of 4,096 components in use:
#: then the number of components is large for the rows, and nothing is wrong.
ROWS_EACH = 100


@dataclass
class _Lasting:
    """For how many steps in a row something was seen."""

    steps: int = 0

    def saw(self, holds: bool, steps: int = 1) -> bool:
        """Whether that has lasted."""
        self.steps = self.steps + steps if holds else 0
        return self.steps >= LASTING


class Symptoms:
    """Looks at what a mixture is sent and at what it answers.

    warn: gets each sentence, once.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._told: set[str] = set()
        self._steps = self._rows = self._components = 0
        self._alike, self._flat, self._still = _Lasting(), _Lasting(), _Lasting()
        self._sum: list[float] = []

    def sends(self, rows: Tensor, prototypes: Tensor, moves: bool = True) -> None:
        """A step goes off: its unit rows (N, D), and the prototypes (K, D) of the step before.

        moves: whether the plugin means to move them.
        """
        self._components = len(prototypes)
        self._steps += 1
        self._rows += len(rows)
        if self._steps % LOOK_EVERY == 0 and len(rows) > 1:
            self._look(rows, prototypes, moves)

    def answers(self, scalars: Mapping[str, float]) -> None:
        """What the plugin tells of a step. `entropy`: of the responsibilities, in nats. `used`: the share of
        components that won a row in the last steps. `beta`: below 1 while annealing flattens them."""
        most = math.log(max(self._components, 1))
        entropy = scalars.get("entropy", math.nan)
        if self._flat.saw(entropy > FLAT * most > 0 and scalars.get("beta", 1) >= 1):
            self._tell(
                "flat",
                f"the entropy of its responsibilities is {entropy:.2f} and has been near ln K = {most:.2f} "
                f"for {LASTING} steps, so all {self._components} components share every row and grow alike: "
                "lower plugin.variance",
            )
        used = scalars.get("used", math.nan)
        enough = self._rows * WINDOW >= ROWS_EACH * self._components * self._steps
        if used < IDLE and self._steps >= SETTLED and enough:
            self._tell(
                "idle",
                f"{used:.1%} of its {self._components} components have won a row in the last {WINDOW} steps, "
                f"after {self._rows:,} rows in {self._steps:,} steps, so a few do all the work, which lowers "
                'the loss but not the error: take norm="batch" in the heads and a loss that balances its '
                "targets (SinkhornDINOLoss), or fewer components",
            )

    def _look(self, rows: Tensor, prototypes: Tensor, moves: bool) -> None:
        cosine, total = _figures(rows, prototypes)
        moved = max((abs(now - then) for now, then in zip(total, self._sum, strict=False)), default=math.inf)
        if self._alike.saw(cosine > ALIKE, LOOK_EVERY):
            self._tell(
                "alike",
                f"the teacher's rows are all alike, with a mean cosine of {cosine:.3f} and above {ALIKE} for "
                f"{LASTING} steps, so the encoder has collapsed or its head squeezes all images into a cone, "
                f"and a centred or balanced loss stays at ln K = {math.log(self._components):.2f}: take "
                'norm="batch" in the heads, or a lower learning rate',
            )
        if self._still.saw(moves and moved < STILL, LOOK_EVERY):
            self._tell(
                "still",
                f"its prototypes have not moved in {LASTING} steps, though rows came at each, so the student "
                "learns from a mixture that does not follow its teacher: lower plugin.prior.strength, or "
                "look for warnings of rows that were refused",
            )
        self._sum = total

    def _tell(self, sign: str, sentence: str) -> None:
        if sign not in self._told:
            self._told.add(sign)
            self._warn(sentence)


@torch.no_grad()
def _figures(rows: Tensor, prototypes: Tensor) -> tuple[float, list[float]]:
    """The mean cosine of two of the unit rows (N, D), and the sum (D) of the prototypes (K, D)."""
    n = len(rows)
    cosine = (rows.float().sum(dim=0).square().sum() - n) / (n * (n - 1))
    first, *total = torch.cat([cosine.unsqueeze(0), prototypes.sum(dim=0).to(rows.device)]).tolist()
    return first, total
