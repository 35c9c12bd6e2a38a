"""What a method's loss is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mixhead.cosines import cosine_logits
from mixhead.worker.config import Config


@dataclass(frozen=True)
class Batch:
    """One step's rows and prototypes; B images, G global views, V views in all, global ones first.

    ``h`` (G B, D) are the teacher's unit rows and ``z`` (V B, D) the student's; with a ``mask``
    (G B, rows, columns) of M hidden patches, M rows of these patches follow in each. ``prototypes``
    (K, D) carry a gradient in the joint arm alone. ``targets`` makes the probabilities (len(h), K) of the
    teacher's rows, or hands over the plugin's: at most one call a step, since a centre moves with it.
    ``targets_in`` makes them here, balanced in each block of a partition (P, S) by itself. ``balanced`` makes
    them of logits (N, K) that the method has chosen itself.
    """

    config: Config
    step: int
    h: Tensor
    z: Tensor
    prototypes: Tensor
    targets: Callable[[], Tensor]
    targets_in: Callable[[Tensor], Tensor]
    balanced: Callable[[Tensor], Tensor]
    temperature: float  # the student's
    teacher_temperature: float
    clock: Mapping[str, float]  # the answer's scalars; a method's own are among them, such as CARP's block
    mask: Tensor | None = None

    @property
    def global_views(self) -> int:
        return self.config.views.global_

    @property
    def views(self) -> int:
        return self.config.views.global_ + self.config.views.local

    def logits(self) -> Tensor:
        """The student's cosines with the prototypes, (len(z), K)."""
        return cosine_logits(self.z, self.prototypes)
