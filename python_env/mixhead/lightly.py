"""Drop-in replacements for lightly: its DINO heads, with optional mixture prototypes, and its DINO loss with
balanced targets."""

from __future__ import annotations

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, draw_as_torch_does, initialise, weight_normed
from mixhead.losses import SinkhornDINOLoss

__all__ = ["DINOProjectionHead", "DINOv2ProjectionHead", "SinkhornDINOLoss"]


class DINOProjectionHead(DropInHead):
    """`lightly.models.modules.heads.DINOProjectionHead`: (N, input_dim) -> logits (N, output_dim).

    Arguments, outputs and state dict are those of the original, plus the arguments of `DropInHead`.
    """

    def __init__(
        self,
        input_dim: int = 2048,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        output_dim: int = 65536,
        batch_norm: bool = False,
        freeze_last_layer: int = -1,
        norm_last_layer: bool = True,
        *,
        prototypes: str = "joint",
        norm: str | None = None,
        name: str = "default",
    ) -> None:
        super().__init__()
        self.layers = _mlp(input_dim, hidden_dim, bottleneck_dim, batch_norm)
        self.freeze_last_layer = freeze_last_layer
        initialise(self.layers)
        self._finish(bottleneck_dim, output_dim, prototypes, norm, name, weight_normed(not norm_last_layer))

    def cancel_last_layer_gradients(self, current_epoch: int) -> None:
        """Drops the gradients of the last layer before epoch `freeze_last_layer`.

        Does nothing with a mixture's prototypes, which have no gradients.
        """
        if current_epoch < self.freeze_last_layer:
            for parameter in self.last_layer.parameters():
                parameter.grad = None

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.layers(x), x)


class DINOv2ProjectionHead(DropInHead):
    """`lightly.models.modules.heads.DINOv2ProjectionHead`: (..., input_dim) -> logits (..., output_dim).

    Arguments, outputs and state dict are those of the original, plus the arguments of `DropInHead`.
    """

    least_half_length = 1e-6

    def __init__(
        self,
        input_dim: int = 2048,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        output_dim: int = 65536,
        batch_norm: bool = False,
        *,
        prototypes: str = "joint",
        norm: str | None = None,
        name: str = "default",
    ) -> None:
        super().__init__()
        self.layers = _mlp(input_dim, hidden_dim, bottleneck_dim, batch_norm)
        initialise(self.layers, draw_as_torch_does)
        joint = weight_normed(train_norms=True)
        self._finish(bottleneck_dim, output_dim, prototypes, norm, name, joint)

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.layers(x), x)


def _mlp(input_dim: int, hidden_dim: int, bottleneck_dim: int, batch_norm: bool) -> nn.Sequential:
    """lightly's MLP, in which a batch norm replaces the biases of the hidden layers."""
    layers: list[nn.Module] = []
    for inputs in (input_dim, hidden_dim):
        layers.append(nn.Linear(inputs, hidden_dim, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(hidden_dim))
        layers.append(nn.GELU())
    return nn.Sequential(*layers, nn.Linear(hidden_dim, bottleneck_dim))
