"""DINO's loss, and DINO's loss modules with Sinkhorn-Knopp in place of the centre."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.losses.targets import Sinkhorn


def dino_loss(
    student_logits: Tensor | Sequence[Tensor],
    targets: Tensor | Sequence[Tensor],
    views: int,
    temperature: float,
) -> Tensor:
    """Mean cross-entropy over all pairs of different views, in float32.

    Let p_t be the targets of view t, and q_s = softmax(z_s / temperature) the student's prediction for
    view s. Then

        loss = 1 / (B pairs) sum_{t != s} sum_b H(p_tb, q_sb)        (DINO, equation 3)

    The value is one float32 sum of B K products, as in lightly. On a CPU it is accurate to about 1e-5 at
    K = 1,024 and to 1e-3 at 65,536. The gradients are accurate to 1e-7 at any K.

    Args:
        student_logits: Logits of all V views, (V B, K), view after view, or a list of V tensors (B, K).
        targets: Probabilities of the first G of these views, (G B, K), or a list of G tensors (B, K).
        views: The number V of views.
        temperature: The student's.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If there is no pair of different views, or if the shapes do not fit.
    """
    logits = torch.cat(list(student_logits)) if not isinstance(student_logits, Tensor) else student_logits
    probabilities = torch.cat(list(targets)) if not isinstance(targets, Tensor) else targets
    batch, rest = divmod(len(logits), views)
    if rest or len(probabilities) % max(batch, 1) or logits.shape[1:] != probabilities.shape[1:]:
        raise ValueError(
            f"logits {tuple(logits.shape)} of {views} views do not fit targets {tuple(probabilities.shape)}"
        )
    teachers = len(probabilities) // batch
    same = min(teachers, views)
    pairs = teachers * views - same
    if pairs == 0:
        raise ValueError("the loss needs at least two views")
    log_q = F.log_softmax(logits.float() / temperature, dim=-1)
    # All pairs of views in one product: (G, B K) x (B K, V). Under autocast half precision could not hold it.
    with torch.autocast(log_q.device.type, enabled=False):
        cross = -(probabilities.float().reshape(teachers, -1) @ log_q.reshape(views, -1).T)
    off_diagonal = 1 - torch.eye(teachers, views, device=cross.device)
    return (cross * off_diagonal).sum() / (pairs * batch)


class BalancedDINOLoss(nn.Module):
    """DINO's loss with Sinkhorn-Knopp in place of the centre: what the projects' signatures have in common.

    With several ranks the targets are balanced over the batches of all ranks.

    Args:
        components: The number K of prototypes.
        student_temp: The student's temperature.
        memory: Number of rows of earlier batches that are balanced along with this one (see ``Sinkhorn``).
    """

    def __init__(self, components: int, student_temp: float, memory: int) -> None:
        super().__init__()
        self.balance = Sinkhorn(components, memory, across_ranks=True)
        self.student_temp = student_temp

    def loss(self, student: Tensor | Sequence[Tensor], teacher: Tensor, views: int, temp: float) -> Tensor:
        """The loss, a scalar, of the student's logits of all views and the teacher's of the first ones.

        Args:
            student: Logits as ``dino_loss`` takes them.
            teacher: Logits of the first G views, (G B, K).
            views: The number V of views.
            temp: The teacher's temperature.
        """
        return dino_loss(student, self.balance(teacher, temp), views, self.student_temp)


def warm_up(start: float, end: float, epochs: int) -> list[float]:
    """The teacher's temperatures in the first epochs, which rise evenly from ``start`` to ``end``."""
    return torch.linspace(start, end, epochs, device="cpu").tolist()


class SinkhornDINOLoss(BalancedDINOLoss):
    """``lightly.loss.DINOLoss`` with Sinkhorn-Knopp in place of the centre.

    It is called like the original. With centering, prototypes that are near no view die; balanced targets
    make use of all prototypes. With several ranks the targets are balanced over the batches of all ranks.
    `center_momentum` and `center_mode` are accepted and ignored.

    Args:
        memory: Number of rows of earlier batches that are balanced along with this one, for small batches
            (see ``Sinkhorn``). If it is above 0, the state dict holds what a resumed training needs.

    Example:
        >>> loss = SinkhornDINOLoss(output_dim=4096)
        >>> loss([t1, t2], [s1, s2, s3, s4], epoch=0)
    """

    def __init__(
        self,
        output_dim: int = 65536,
        warmup_teacher_temp: float = 0.04,
        teacher_temp: float = 0.04,
        warmup_teacher_temp_epochs: int = 30,
        student_temp: float = 0.1,
        center_momentum: float = 0.9,
        center_mode: str = "mean",
        *,
        memory: int = 0,
    ) -> None:
        super().__init__(output_dim, student_temp, memory)
        self.teacher_temp = teacher_temp
        self.warmup = warm_up(warmup_teacher_temp, teacher_temp, warmup_teacher_temp_epochs)

    def forward(
        self,
        teacher_out: list[Tensor],
        student_out: list[Tensor],
        teacher_temp: float | None = None,
        epoch: int | None = None,
    ) -> Tensor:
        """Returns the loss, a scalar.

        Args:
            teacher_out: The teacher's logits, one tensor (B, K) a view.
            student_out: The student's logits, one tensor (B, K) a view, the teacher's views first.
            teacher_temp: The teacher's temperature. None: that of the epoch.
            epoch: The epoch from 0. None: the warm-up is over.
        """
        if teacher_temp is None:
            now = len(self.warmup) if epoch is None else epoch
            teacher_temp = self.warmup[now] if now < len(self.warmup) else self.teacher_temp
        return self.loss(student_out, torch.cat(teacher_out), len(student_out), teacher_temp)
