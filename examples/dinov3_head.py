"""The projection head of such scripts: init_weights() initialises it; its prototypes have no fixed length."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class DINOHead(nn.Module):
    """(N, in_dim) -> logits (N, out_dim)."""

    def __init__(self, in_dim: int, out_dim: int, hidden_dim: int = 2048, bottleneck_dim: int = 256) -> None:
        super().__init__()
        widths = [in_dim, hidden_dim, hidden_dim, bottleneck_dim]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.last_layer = nn.Linear(bottleneck_dim, out_dim, bias=False)

    def init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, no_last_layer: bool = False, only_last_layer: bool = False) -> Tensor:
        """no_last_layer: returns the unit embeddings (N, bottleneck_dim); only_last_layer: x holds these."""
        if not only_last_layer:
            x = F.normalize(self.mlp(x), dim=-1)
        return x if no_last_layer else self.last_layer(x)
