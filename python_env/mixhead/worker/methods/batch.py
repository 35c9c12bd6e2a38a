"""The inputs of a method's loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mixhead.cosines import cosine_logits
from mixhead.worker.config import Config


@dataclass(frozen=True)
class Batch:
    """The rows and prototypes of a step with B images, G global views and V views in all, global ones first.

    Attributes:
        config: The run's configuration.
        step: The step, from 0.
        h: The teacher's unit rows, (G B, D). If M patches are masked, their M rows follow.
        z: The student's unit rows, (V B, D). If M patches are masked, their M rows follow.
        prototypes: Unit rows (K, D), with a gradient only in the joint arm.
        targets: Returns the teacher's probabilities, (len(h), K), computed here or by the plugin. Call it at
            most once a step, because each call moves a centre.
        targets_in: Returns them for a partition (P, S), computed here and balanced within each block.
        balanced: Returns balanced probabilities for logits (N, K) of the method's choice.
        temperature: The student's temperature.
        teacher_temperature: The teacher's temperature.
        clock: The scalars of the plugin's answer, including a method's own, such as CARP's block.
        mask: The masked patches, (G B, rows, columns) bool; None if the method masks none.
    """

    config: Config
    step: int
    h: Tensor
    z: Tensor
    prototypes: Tensor
    targets: Callable[[], Tensor]
    targets_in: Callable[[Tensor], Tensor]
    balanced: Callable[[Tensor], Tensor]
    temperature: float
    teacher_temperature: float
    clock: Mapping[str, float]
    mask: Tensor | None = None

    @property
    def global_views(self) -> int:
        return self.config.views.global_

    @property
    def views(self) -> int:
        return self.config.views.global_ + self.config.views.local

    def logits(self) -> Tensor:
        """The cosines of the student's rows with the prototypes, (len(z), K)."""
        return cosine_logits(self.z, self.prototypes)
