"""The head of facebookresearch/dino, with prototypes that can be a mixture's."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, initialise


class DINOHead(DropInHead):
    """`vision_transformer.DINOHead` of facebookresearch/dino: (N, in_dim) -> (N, out_dim).

    Its arguments, its output and its state dict are the original's. Besides:

    prototypes: "joint", learned with the rest, as in the original to the last bit; or "online-gmm": those
        of a mixture that the plugin estimates online from the teacher's embeddings, outside the loss.
    norm: "batch" puts a batch norm without parameters before the L2 norm, which keeps early embeddings
        out of the narrow cone in which components die.
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
        nlayers = max(nlayers, 1)
        widths = [in_dim, *[hidden_dim] * (nlayers - 1)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers.append(nn.Linear(inputs, outputs))
            if use_bn:
                layers.append(nn.BatchNorm1d(outputs))
            layers.append(nn.GELU())
        last = nn.Linear(widths[-1], bottleneck_dim)
        self.mlp = nn.Sequential(*layers, last) if layers else last
        initialise(self.mlp)
        self._finish(bottleneck_dim, out_dim, not norm_last_layer, prototypes, norm, name)

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.mlp(x))
