"""Drop-in replacement for the head of facebookresearch/dinov2, with optional mixture prototypes."""

from __future__ import annotations

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, draw_as_torch_does, initialise, mlp, weight_normed, widths

__all__ = ["DINOHead"]


class DINOHead(DropInHead):
    """`dinov2.layers.DINOHead`: (..., in_dim) -> logits (..., out_dim).

    Input rows that are all zero are padding: DINOv2 fills up its buffers of masked patches with them. They
    get logits, but neither the norm nor the mixture counts them.

    Arguments, outputs and state dict are those of the original, plus the arguments of `DropInHead`.
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
