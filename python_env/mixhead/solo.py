"""Drop-in replacements for solo-learn: its DINO head, with optional mixture prototypes, and its DINO loss,
with balanced targets."""

from __future__ import annotations

from torch import Tensor, nn

from mixhead import dino
from mixhead.dropin.heads import DropInHead, initialise, mlp, weight_normed, widths

__all__ = ["DINOHead", "SinkhornDINOLoss"]


class DINOHead(DropInHead):
    """`solo.methods.dino.DINOHead`: (N, in_dim) -> logits (N, num_prototypes).

    Arguments, outputs and state dict are those of the original, plus the arguments of `DropInHead`.
    """

    def __init__(
        self,
        in_dim: int,
        num_prototypes: int,
        use_bn: bool = True,
        norm_last_layer: bool = True,
        num_layers: int = 3,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        *,
        prototypes: str = "joint",
        norm: str | None = None,
        name: str = "default",
    ) -> None:
        super().__init__()
        batch_norm = nn.BatchNorm1d if use_bn else None
        self.mlp = mlp(widths(in_dim, hidden_dim, bottleneck_dim, num_layers), batch_norm)
        initialise(self.mlp)
        self._finish(
            bottleneck_dim, num_prototypes, prototypes, norm, name, weight_normed(not norm_last_layer)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.mlp(x), x)


class SinkhornDINOLoss(nn.Module):
    """``solo.losses.dino.DINOLoss`` with Sinkhorn-Knopp in place of the centre.

    As with the original, the training loop sets ``epoch``. `center_momentum` is accepted and ignored.

    Args:
        memory: Number of rows of earlier batches that are balanced along with this one (see
            `mixhead.losses.Sinkhorn`).
    """

    def __init__(
        self,
        num_prototypes: int,
        warmup_teacher_temp: float,
        teacher_temp: float,
        warmup_teacher_temp_epochs: int,
        num_epochs: int,
        student_temp: float = 0.1,
        num_large_crops: int = 2,
        center_momentum: float = 0.9,
        *,
        memory: int = 0,
    ) -> None:
        super().__init__()
        self.epoch = 0
        self.loss = dino.SinkhornDINOLoss(
            num_prototypes,
            num_large_crops,
            warmup_teacher_temp,
            teacher_temp,
            warmup_teacher_temp_epochs,
            num_epochs,
            student_temp,
            memory=memory,
        )

    def forward(self, student_output: Tensor, teacher_output: Tensor) -> Tensor:
        """Returns the loss, a scalar.

        Args:
            student_output: The student's logits of the large crops, (num_large_crops * B, K).
            teacher_output: The teacher's logits, (2 * B, K).
        """
        loss: Tensor = self.loss(student_output, teacher_output, self.epoch)
        return loss
