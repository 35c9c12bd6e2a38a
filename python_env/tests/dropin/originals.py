"""The heads of today's projects, written anew from what they do."""

import torch
import torch.nn.functional as F
from lightly.models.utils import _no_grad_trunc_normal
from torch import Tensor, nn


def perceptron(in_dim, hidden, out, nlayers, use_bn=False, bias=True, norm=nn.BatchNorm1d, act=nn.GELU):
    widths = [in_dim, *[hidden] * (nlayers - 1)]
    layers = []
    for i in range(nlayers - 1):
        layers += [nn.Linear(widths[i], hidden, bias=bias), *([norm(hidden)] if use_bn else []), act()]
    layers.append(nn.Linear(widths[-1], out, bias=bias))
    return nn.Sequential(*layers) if nlayers > 1 else layers[0]


def old_start(module: nn.Module) -> None:
    """DINO's utils, of which iBOT and solo-learn have copies."""
    for each in module.modules():
        if isinstance(each, nn.Linear):
            _no_grad_trunc_normal(each.weight, 0, 0.02, -2, 2)
            if each.bias is not None:
                nn.init.zeros_(each.bias)


def new_start(module: nn.Module) -> None:
    for each in module.modules():
        if isinstance(each, nn.Linear):
            nn.init.trunc_normal_(each.weight, std=0.02)
            if each.bias is not None:
                nn.init.zeros_(each.bias)


def weight_normed(dim: int, components: int, train_norms: bool) -> nn.Module:
    layer = nn.utils.weight_norm(nn.Linear(dim, components, bias=False))
    layer.weight_g.data.fill_(1)
    layer.weight_g.requires_grad = train_norms
    return layer


class DINOv2(nn.Module):
    def __init__(
        self, in_dim, out_dim, use_bn=False, nlayers=3, hidden_dim=2048, bottleneck_dim=256, mlp_bias=True
    ):
        super().__init__()
        self.mlp = perceptron(in_dim, hidden_dim, bottleneck_dim, nlayers, use_bn, mlp_bias)
        new_start(self.mlp)
        self.last_layer = weight_normed(bottleneck_dim, out_dim, True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mlp(x)
        eps = 1e-6 if x.dtype == torch.float16 else 1e-12
        return self.last_layer(F.normalize(x, dim=-1, p=2, eps=eps))


class DINOv3(nn.Module):
    def __init__(
        self, in_dim, out_dim, use_bn=False, nlayers=3, hidden_dim=2048, bottleneck_dim=256, mlp_bias=True
    ):
        super().__init__()
        self.mlp = perceptron(in_dim, hidden_dim, bottleneck_dim, nlayers, use_bn, mlp_bias)
        self.last_layer = nn.Linear(bottleneck_dim, out_dim, bias=False)

    def init_weights(self) -> None:
        new_start(self)

    def forward(self, x: Tensor, no_last_layer: bool = False, only_last_layer: bool = False) -> Tensor:
        if not only_last_layer:
            x = self.mlp(x)
            x = F.normalize(x, dim=-1, p=2, eps=1e-6 if x.dtype == torch.float16 else 1e-12)
        return x if no_last_layer else self.last_layer(x)


class Solo(nn.Module):
    def __init__(
        self,
        in_dim,
        num_prototypes,
        use_bn=True,
        norm_last_layer=True,
        num_layers=3,
        hidden_dim=2048,
        bottleneck_dim=256,
    ):
        super().__init__()
        self.mlp = perceptron(in_dim, hidden_dim, bottleneck_dim, num_layers, use_bn)
        old_start(self.mlp)
        self.last_layer = weight_normed(bottleneck_dim, num_prototypes, not norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1, p=2))


class IBOT(nn.Module):
    def __init__(
        self,
        in_dim,
        out_dim,
        patch_out_dim=8192,
        norm=None,
        act="gelu",
        last_norm=None,
        nlayers=3,
        hidden_dim=2048,
        bottleneck_dim=256,
        norm_last_layer=True,
        shared_head=False,
    ):
        super().__init__()
        norms = {"bn": nn.BatchNorm1d, "ln": nn.LayerNorm}
        self.mlp = perceptron(
            in_dim,
            hidden_dim,
            bottleneck_dim,
            nlayers,
            norm is not None,
            norm=norms.get(norm),
            act={"gelu": nn.GELU, "relu": nn.ReLU}[act],
        )
        old_start(self.mlp)
        self.last_layer = weight_normed(bottleneck_dim, out_dim, not norm_last_layer)
        self.last_norm = None if last_norm is None else nn.BatchNorm1d(out_dim, affine=False)
        if shared_head:
            self.last_layer2, self.last_norm2 = self.last_layer, self.last_norm
        else:
            self.last_layer2 = weight_normed(bottleneck_dim, patch_out_dim, not norm_last_layer)
            self.last_norm2 = None if last_norm is None else nn.BatchNorm1d(patch_out_dim, affine=False)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        rows = F.normalize(self.mlp(x), dim=-1, p=2)
        if x.ndim == 2:
            logits = self.last_layer(rows)
            return logits if self.last_norm is None else self.last_norm(logits)
        return self.last_layer(rows[:, 0]), self.last_layer2(rows[:, 1:])
