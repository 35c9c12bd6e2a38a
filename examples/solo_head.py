"""The head and the loss of such scripts: a batch norm after each layer, prototypes that the loss learns."""

import meta
import torch.nn.functional as F
from torch import Tensor, nn


class DINOHead(nn.Module):
    """(N, in_dim) -> cosines (N, num_prototypes)."""

    def __init__(
        self, in_dim: int, num_prototypes: int, hidden_dim: int = 2048, bottleneck_dim: int = 256
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (in_dim, hidden_dim):
            layers += [nn.Linear(inputs, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden_dim, bottleneck_dim))
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.last_layer = nn.utils.parametrizations.weight_norm(
            nn.Linear(bottleneck_dim, num_prototypes, bias=False)
        )
        self.last_layer.parametrizations.weight.original0.data.fill_(1).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))


class DINOLoss(nn.Module):
    """Meta's loss, over the large crops only. The training sets `epoch`."""

    def __init__(
        self,
        num_prototypes: int,
        warmup_teacher_temp: float,
        teacher_temp: float,
        warmup_teacher_temp_epochs: int,
        num_epochs: int,
        student_temp: float = 0.1,
        num_large_crops: int = 2,
    ) -> None:
        super().__init__()
        self.epoch = 0
        temperatures = (warmup_teacher_temp, teacher_temp, warmup_teacher_temp_epochs)
        self.loss = meta.DINOLoss(num_prototypes, num_large_crops, *temperatures, num_epochs, student_temp)

    def forward(self, student_output: Tensor, teacher_output: Tensor) -> Tensor:
        return self.loss(student_output, teacher_output, self.epoch)
