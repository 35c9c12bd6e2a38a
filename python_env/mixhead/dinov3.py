"""The head of facebookresearch/dinov3, with prototypes that can be a mixture's."""

from __future__ import annotations

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, draw_as_torch_does, initialise, mlp, plain_linear, widths

__all__ = ["DINOHead"]


class DINOHead(DropInHead):
    """`dinov3.layers.DINOHead`: (..., in_dim) -> (..., out_dim), or the bottleneck's rows.

    Its arguments, its output and its state dict are the original's. Besides:

    prototypes: "joint", learned with the rest, as in the original to the last bit; or "online-gmm": those
        of a mixture that the plugin estimates online from the teacher's embeddings, outside the loss.
    norm: "batch" puts a batch norm without parameters before the L2 norm, which keeps early embeddings
        out of the narrow cone in which components die; "syncbatch" takes all ranks' rows.
    name: the mixture's; heads of one name share it, teacher and student first of all.

    The original's prototypes are rows of free length, .32 at the start; a mixture's have length 1, so logits
    are cosines, as they are in DINOv2.
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
        """Starts all that is learned anew, as after a start on the meta device. The mixture stays."""
        initialise(self, draw_as_torch_does)
        if self.norm is not None:
            self.norm.reset_running_stats()

    def forward(self, x: Tensor, no_last_layer: bool = False, only_last_layer: bool = False) -> Tensor:
        """no_last_layer: gives the bottleneck's rows (..., bottleneck_dim), of length 1. only_last_layer:
        takes such rows; those that are all zero are padding."""
        padding = self._padding(x)
        unit, dtype = x, x.dtype
        if not only_last_layer:
            projected = self.mlp(x)
            dtype = projected.dtype
            unit = self._unit(self.last_layer, projected, padding)
        if no_last_layer:
            # The biases have filled padding: zero again, the other half knows it for what it is.
            rows = unit if padding is None else unit.masked_fill(padding.unsqueeze(-1), 0)
            return rows.to(dtype)
        return self._compare(self.last_layer, unit, padding, dtype)
