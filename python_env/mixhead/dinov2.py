"""The head of facebookresearch/dinov2, with prototypes that can be a mixture's."""

from __future__ import annotations

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, draw_as_torch_does, initialise, mlp, weight_normed, widths

__all__ = ["DINOHead"]


class DINOHead(DropInHead):
    """`dinov2.layers.DINOHead`: (..., in_dim) -> (..., out_dim).

    Its arguments, its output and its state dict are the original's. Besides:

    prototypes: "joint", learned with the rest, as in the original to the last bit; or "online-gmm": those
        of a mixture that the plugin estimates online from the teacher's embeddings, outside the loss.
    norm: "batch" puts a batch norm without parameters before the L2 norm, which keeps early embeddings
        out of the narrow cone in which components die; "syncbatch" takes all ranks' rows.
    name: the mixture's; heads of one name share it, teacher and student first of all.

    Rows of the input that are all zero, which DINOv2 fills its buffers of masked patches up with, get logits
    and count nowhere.
    """

    least_half_length = 1e-6

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        use_bn: bool = False,
        nlayers: int = 3,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        mlp_bias: bool = True,
        *,
        prototypes: str = "joint",
        norm: str | None = None,
        name: str = "default",
    ) -> None:
        super().__init__()
        batch_norm = nn.BatchNorm1d if use_bn else None
        self.mlp = mlp(widths(in_dim, hidden_dim, bottleneck_dim, nlayers), batch_norm, mlp_bias)
        initialise(self.mlp, draw_as_torch_does)
        self._finish(bottleneck_dim, out_dim, prototypes, norm, name, weight_normed(train_norms=True))

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.mlp(x), x)
