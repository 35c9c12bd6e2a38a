"""Drop-in replacements for facebookresearch/dino: the head, with optional mixture prototypes, and a loss with
balanced targets."""

from __future__ import annotations

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, initialise, mlp, weight_normed, widths
from mixhead.losses.dino import BalancedDINOLoss, warm_up


class DINOHead(DropInHead):
    """`vision_transformer.DINOHead` of facebookresearch/dino: (..., in_dim) -> logits (..., out_dim).

    Arguments, outputs and state dict are those of the original, plus the arguments of `DropInHead`.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        use_bn: bool = False,
        norm_last_layer: bool = True,
        nlayers: int = 3,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        *,
        prototypes: str = "joint",
        norm: str | None = None,
        name: str = "default",
    ) -> None:
        super().__init__()
        if norm_last_layer not in (True, False):
            raise ValueError(
                f"norm_last_layer is {norm_last_layer!r}; allowed: True, False. The arguments are those of "
                "Meta's first DINO, (in_dim, out_dim, use_bn, norm_last_layer, nlayers, ...); DINOv2's "
                "have no norm_last_layer: for DINOv2 use mixhead.dinov2.DINOHead"
            )
        batch_norm = nn.BatchNorm1d if use_bn else None
        self.mlp = mlp(widths(in_dim, hidden_dim, bottleneck_dim, nlayers), batch_norm)
        initialise(self.mlp)
        self._finish(bottleneck_dim, out_dim, prototypes, norm, name, weight_normed(not norm_last_layer))

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.mlp(x), x)


class SinkhornDINOLoss(BalancedDINOLoss):
    """``main_dino.DINOLoss`` with Sinkhorn-Knopp in place of the centre.

    It is called like the original, and also works without a process group. With several ranks the targets are
    balanced over the batches of all ranks. `center_momentum` is accepted and ignored.

    Args:
        memory: Number of rows of earlier batches that are balanced along with this one, for small batches
            (see ``mixhead.losses.Sinkhorn``). If it is above 0, the state dict holds what a resumed training
            needs.
    """

    def __init__(
        self,
        out_dim: int,
        ncrops: int,
        warmup_teacher_temp: float,
        teacher_temp: float,
        warmup_teacher_temp_epochs: int,
        nepochs: int,
        student_temp: float = 0.1,
        center_momentum: float = 0.9,
        *,
        memory: int = 0,
    ) -> None:
        super().__init__(out_dim, student_temp, memory)
        self.ncrops = ncrops
        warmup = warm_up(warmup_teacher_temp, teacher_temp, warmup_teacher_temp_epochs)
        self.teacher_temps = warmup + [teacher_temp] * (nepochs - len(warmup))

    def forward(self, student_output: Tensor, teacher_output: Tensor, epoch: int) -> Tensor:
        """Returns the loss, a scalar.

        Args:
            student_output: Logits of all crops, (ncrops * B, K), the two global crops first.
            teacher_output: Logits of the two global crops, (2 * B, K).
            epoch: The epoch from 0, which determines the teacher's temperature.
        """
        return self.loss(student_output, teacher_output, self.ncrops, self.teacher_temps[epoch])
