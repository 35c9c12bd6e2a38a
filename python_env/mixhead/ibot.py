"""Drop-in replacement for the head of bytedance/ibot, with optional mixture prototypes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from torch import Tensor, nn

from mixhead.dropin.heads import DropInHead, initialise, mlp, weight_normed, widths
from mixhead.dropin.norm import NORMS

__all__ = ["iBOTHead"]

_MLP_NORMS: dict[str | None, Callable[[int], nn.Module] | None] = {
    None: None,
    "bn": nn.BatchNorm1d,
    "syncbn": nn.SyncBatchNorm,
    "ln": nn.LayerNorm,
}
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
_LAST_NORMS: dict[str | None, Callable[[int], nn.Module] | None] = {
    None: None,
    "bn": partial(nn.BatchNorm1d, affine=False),
    "syncbn": partial(nn.SyncBatchNorm, affine=False),
    "ln": partial(nn.LayerNorm, elementwise_affine=False),
}


class iBOTHead(DropInHead):
    """`models.head.iBOTHead` of bytedance/ibot: tokens -> logits.

    Class tokens (N, in_dim) -> (N, out_dim). Class and patch tokens (N, 1 + P, in_dim) -> the pair
    (N, out_dim), (N, P, patch_out_dim).

    A drop-in replacement: arguments, outputs and state dict are those of the original, plus the arguments
    below. It needs a bottleneck (`bottleneck_dim` above 0).

    Args:
        prototypes: "joint": learned with the rest of the head, bit for bit as in the original. "online-gmm":
            the prototypes of two mixtures, one for class tokens and one for patches, or of one mixture if
            `shared_head` is set. The plugin estimates them online from the teacher's embeddings, outside the
            loss.
        norm: The original's "bn", "syncbn" and "ln" apply to the MLP. "batch" puts a batch norm without
            parameters before the L2 norm; class and patch tokens are normalised separately. "syncbatch" does
            the same over the rows of all ranks.
        name: The mixture of class tokens. The mixture of patches is called `name` + "-patches".

    Raises:
        ValueError: If an argument is outside its allowed values, or if the other heads of the mixture have
            another size.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        patch_out_dim: int = 8192,
        norm: str | None = None,
        act: str = "gelu",
        last_norm: str | None = None,
        nlayers: int = 3,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        norm_last_layer: bool = True,
        shared_head: bool = False,
        *,
        prototypes: str = "joint",
        name: str = "default",
    ) -> None:
        super().__init__()
        if bottleneck_dim <= 0:
            raise ValueError(f"bottleneck_dim is {bottleneck_dim}; allowed: above 0, as prototypes need one")
        if norm not in (*_MLP_NORMS, *NORMS):
            raise ValueError(
                f"norm is {norm!r}; allowed: {', '.join(map(repr, _MLP_NORMS))} (in the MLP), "
                '"batch", "syncbatch" (before the L2 norm)'
            )
        _check("act", act, _ACTIVATIONS)
        _check("last_norm", last_norm, _LAST_NORMS)
        decoupled = prototypes != "joint"
        if decoupled and last_norm is not None:
            raise ValueError(f'last_norm is {last_norm!r}; allowed with prototypes="online-gmm": None')
        own = norm if norm in ("batch", "syncbatch") else None
        in_mlp = None if own else _MLP_NORMS[norm]
        self.mlp = mlp(widths(in_dim, hidden_dim, bottleneck_dim, nlayers), in_mlp, act=_ACTIVATIONS[act])
        initialise(self.mlp)
        joint = weight_normed(not norm_last_layer)
        self._finish(bottleneck_dim, out_dim, prototypes, own, name, joint)
        self.last_norm = _made(last_norm, out_dim)
        if shared_head:
            self.last_layer2, self.last_norm2 = self.last_layer, self.last_norm
        else:
            patches = f"{name}-patches"
            self.last_layer2 = self._layer(bottleneck_dim, patch_out_dim, prototypes, patches, joint)
            self.last_norm2 = _made(last_norm, patch_out_dim)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        projected = self.mlp(x)
        if x.ndim == 2:
            return self._of(self.last_layer, self.last_norm, projected, x)
        return (
            self._of(self.last_layer, self.last_norm, projected[:, 0], x[:, 0]),
            self._of(self.last_layer2, self.last_norm2, projected[:, 1:], x[:, 1:]),
        )

    def _of(self, layer: nn.Module, last_norm: nn.Module | None, projected: Tensor, source: Tensor) -> Tensor:
        padding = self._padding(source)
        logits = self._compare(layer, self._unit(layer, projected, padding), padding, projected.dtype)
        return logits if last_norm is None else last_norm(logits)


def _made(name: str | None, dim: int) -> nn.Module | None:
    make = _LAST_NORMS[name]
    return None if make is None else make(dim)


def _check(what: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}; allowed: {', '.join(map(repr, allowed))}")
