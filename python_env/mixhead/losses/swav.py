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
    """Swapped prediction: each view predicts the codes of the others (SwAV, equations 2 and 6).

    The value is that of ``dino_loss``; only the origin of the codes makes it SwAV. They come from
    Sinkhorn-Knopp at temperature .05. The original balances each view on its own, the plugin all views of
    the teacher together.

    Args:
        student_logits: Logits of all V views, (V B, K), view after view, or a list of V tensors (B, K).
        codes: Codes of the first G of these views, (G B, K), or a list of G tensors (B, K).
        views: The number V of views.
        temperature: The student's.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If there is no pair of different views, or if the shapes do not fit.
    """
    return dino_loss(student_logits, codes, views, temperature)
