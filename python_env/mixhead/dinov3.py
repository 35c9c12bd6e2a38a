"""Drop-in replacement for the head of facebookresearch/dinov3, with optional mixture prototypes."""

from __future__ import annotations

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, draw_as_torch_does, initialise, mlp, plain_linear, widths

__all__ = ["DINOHead"]


class DINOHead(DropInHead):
    """`dinov3.layers.DINOHead`: (..., in_dim) -> logits (..., out_dim), or the rows of the bottleneck.

    The original's prototypes are rows of any length, .32 at the start. A mixture's prototypes have length 1,
    so logits are cosines, as in DINOv2.

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
        self._finish(bottleneck_dim, out_dim, prototypes, norm, name, plain_linear)

    def init_weights(self) -> None:
        """Initialises the learned parameters, as after construction on the meta device. Keeps the mixture."""
        initialise(self, draw_as_torch_does)
        if self.norm is not None:
            self.norm.reset_running_stats()

    def forward(self, x: Tensor, no_last_layer: bool = False, only_last_layer: bool = False) -> Tensor:
        """Returns logits (..., out_dim), or with `no_last_layer` the rows of the bottleneck.

        Args:
            x: Features (..., in_dim), or with `only_last_layer` rows (..., bottleneck_dim) of length 1. Rows
                that are all zero are padding.
            no_last_layer: Return the rows of the bottleneck, (..., bottleneck_dim), of length 1.
            only_last_layer: Apply the last layer alone.
        """
        padding = self._padding(x)
        unit, dtype = x, x.dtype
        if not only_last_layer:
            projected = self.mlp(x)
            dtype = projected.dtype
            unit = self._unit(self.last_layer, projected, padding)
        if no_last_layer:
            # The MLP's biases made padding nonzero. Zero it again, so that the call with only_last_layer
            # recognises it.
            rows = unit if padding is None else unit.masked_fill(padding.unsqueeze(-1), 0)
            return rows.to(dtype)
        return self._compare(self.last_layer, unit, padding, dtype)
