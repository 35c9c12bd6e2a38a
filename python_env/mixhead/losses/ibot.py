"""iBOT's loss on masked patches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def ibot_patch_loss(student_logits: Tensor, targets: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Mean over images of the mean cross-entropy of an image's masked patches, in float32.

    Let image b have m_b masked patches. Then

        loss = 1 / B sum_b 1 / m_b sum_{i masked in b} H(p_i, q_i)        (iBOT, equation 3)

    Images without a masked patch count as 0.

    Args:
        student_logits: Logits of the M masked patches, (M, K), image by image.
        targets: Probabilities of the same patches, (M, K).
        mask: Which patches are masked, (B, H, W) bool, M of them True.
        temperature: The student's.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if student_logits.shape != targets.shape or len(targets) != int(mask.sum()):
        raise ValueError(
            f"logits {tuple(student_logits.shape)} and targets {tuple(targets.shape)} do not fit a mask of "
            f"{int(mask.sum())} patches"
        )
    cross = -(targets.float() * F.log_softmax(student_logits.float() / temperature, dim=-1)).sum(dim=-1)
    masked = mask.flatten(1).sum(dim=1)
    weights = (1 / masked.clamp_min(1)).repeat_interleave(masked)
    return (cross * weights).sum() / len(mask)
