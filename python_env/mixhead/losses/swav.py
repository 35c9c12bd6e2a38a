"""SwAV's loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mixhead.losses.dino import dino_loss


def swav_loss(
    student_logits: Tensor | Sequence[Tensor],
    codes: Tensor | Sequence[Tensor],
    views: int,
    temperature: float = 0.1,
) -> Tensor:
    """Swapped prediction: every view predicts the codes of the others, mean cross-entropy over the pairs.

    ``student_logits``, ``codes`` and ``views`` as in ``dino_loss``, whose sum this is (SwAV, equations 2 and
    6). What makes it SwAV is where the codes come from: Sinkhorn-Knopp at temperature .05, of each view
    by itself in the original, of all that the teacher saw in the plugin.
    """
    return dino_loss(student_logits, codes, views, temperature)
