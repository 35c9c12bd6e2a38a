"""The head of facebookresearch/dino, with prototypes that can be a mixture's, and its loss, balanced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, initialise, mlp, weight_normed, widths
from mixhead.losses import Sinkhorn, dino_loss


class DINOHead(DropInHead):
    """`vision_transformer.DINOHead` of facebookresearch/dino: (..., in_dim) -> (..., out_dim).

    Its arguments, its output and its state dict are the original's. Besides:

    prototypes: "joint", learned with the rest, as in the original to the last bit; or "online-gmm": those
        of a mixture that the plugin estimates online from the teacher's embeddings, outside the loss.
    norm: "batch" puts a batch norm without parameters before the L2 norm, which keeps early embeddings
        out of the narrow cone in which components die; "syncbatch" takes all ranks' rows.
    name: the mixture's; heads of one name share it, teacher and student first of all.
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
                "have no norm_last_layer: for these take mixhead.dinov2.DINOHead"
            )
        batch_norm = nn.BatchNorm1d if use_bn else None
        self.mlp = mlp(widths(in_dim, hidden_dim, bottleneck_dim, nlayers), batch_norm)
        initialise(self.mlp)
        self._finish(bottleneck_dim, out_dim, prototypes, norm, name, weight_normed(not norm_last_layer))

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.mlp(x), x)


class SinkhornDINOLoss(nn.Module):
    """``main_dino.DINOLoss`` with Sinkhorn-Knopp in place of the centre: called as that is, and without a
    process group too. With several ranks the batch that is balanced is that of all of them.

    memory: rows of earlier batches that are balanced along with this one, for small batches (see
        ``mixhead.losses.Sinkhorn``); the state dict then has what it needs to go on.
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
        super().__init__()
        self.balance = Sinkhorn(out_dim, memory, across_ranks=True)
        self.ncrops = ncrops
        self.student_temp = student_temp
        warmup = torch.linspace(
            warmup_teacher_temp, teacher_temp, warmup_teacher_temp_epochs, device="cpu"
        ).tolist()
        self.teacher_temps = warmup + [teacher_temp] * (nepochs - len(warmup))

    def forward(self, student_output: Tensor, teacher_output: Tensor, epoch: int) -> Tensor:
        """Logits of all crops (ncrops * B, K), and of the teacher's two (2 * B, K)."""
        targets = self.balance(teacher_output, self.teacher_temps[epoch])
        return dino_loss(student_output, targets, self.ncrops, self.student_temp)
