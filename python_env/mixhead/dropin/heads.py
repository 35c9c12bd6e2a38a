"""Common parts of the drop-in heads: MLP, norm, prototypes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.dropin.norm import EmbeddingNorm, embedding_norm, normed
from mixhead.dropin.prototypes import Prototypes, is_padding
from mixhead.joint import JointPrototypes

PROTOTYPES = ("joint", "online-gmm")


def mlp(
    widths: list[int],
    norm: Callable[[int], nn.Module] | None = None,
    bias: bool = True,
    act: Callable[[], nn.Module] = nn.GELU,
) -> nn.Module:
    """Linear layers of these widths. Every layer but the last is followed by the norm, if there is one, and
    the activation. A single layer is not wrapped in nn.Sequential."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers.append(nn.Linear(inputs, outputs, bias=bias))
        if norm is not None:
            layers.append(norm(outputs))
        layers.append(act())
    last = nn.Linear(widths[-2], widths[-1], bias=bias)
    return nn.Sequential(*layers, last) if layers else last


def widths(in_dim: int, hidden_dim: int, bottleneck_dim: int, nlayers: int) -> list[int]:
    """The widths of an MLP of `nlayers` linear layers, at least one."""
    return [in_dim, *[hidden_dim] * (max(nlayers, 1) - 1), bottleneck_dim]


def draw_by_inverse(weight: Tensor) -> None:
    """Draws from a normal of std .02, truncated at +-2, by inverse transform sampling.

    DINO, iBOT, lightly and solo-learn draw in this way, as `nn.init.trunc_normal_` did before it used
    rejection sampling. So the same seed gives the same weights."""
    weight.uniform_(-1, 1).erfinv_().mul_(0.02 * math.sqrt(2)).clamp_(-2, 2)


def draw_as_torch_does(weight: Tensor) -> None:
    """Draws from the same distribution with torch's own function, as DINOv2 and DINOv3 do."""
    nn.init.trunc_normal_(weight, std=0.02)


@torch.no_grad()
def initialise(module: nn.Module, draw: Callable[[Tensor], None] = draw_by_inverse) -> None:
    """Initialises linear layers as DINO does: weights by `draw`, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class DropInHead(nn.Module):
    """The part of a DINO head after its MLP: norm, L2 norm, last layer.

    Subclasses replace a project's own heads. Their arguments, outputs and state dict are those of the
    original, plus the arguments below. A subclass creates its MLP, then calls `_finish`.

    Args:
        prototypes: "joint": learned with the rest of the head, bit for bit as in the original. "online-gmm":
            the prototypes of a mixture that the plugin estimates online from the teacher's embeddings,
            outside the loss.
        norm: "batch": a batch norm without parameters before the L2 norm. It keeps early embeddings out of
            the narrow cone in which components die. "syncbatch": the same, over the rows of all ranks.
            None: no norm.
        name: The mixture. Heads with the same name share one; give student and teacher the same name.

    Raises:
        ValueError: If an argument is outside its allowed values, or if the other heads of the mixture have
            another size.
    """

    last_layer: nn.Module
    norm: EmbeddingNorm | None
    #: The original's smallest divisor in the L2 norm of float16 rows.
    least_half_length = 1e-12

    def _finish(
        self,
        dim: int,
        components: int,
        prototypes: str,
        norm: str | None,
        name: str,
        joint: Callable[[int, int], nn.Module],
    ) -> None:
        """Creates norm and last layer. joint: makes the original's last layer of `dim` and `components`."""
        # The norm comes first, so that code that averages state dicts in order sees the mixture's state last.
        self.norm = embedding_norm(norm, dim)
        self.last_layer = self._layer(dim, components, prototypes, name, joint)

    def _layer(
        self, dim: int, components: int, prototypes: str, name: str, joint: Callable[[int, int], nn.Module]
    ) -> nn.Module:
        if prototypes not in PROTOTYPES:
            raise ValueError(f'prototypes is {prototypes!r}; allowed: "joint", "online-gmm"')
        if prototypes == "joint":
            return joint(dim, components)
        layer = Prototypes(dim, components, name)
        layer.weight_norm = joint is not plain_linear
        layer.belongs_to(self)
        return layer

    def __deepcopy__(self, memo: dict[int, Any]) -> DropInHead:
        """Makes another head of the same mixture: teachers are created by deepcopy."""
        head = memo[id(self)] = self.__new__(type(self))
        own = self.__getstate__()  # type: ignore[no-untyped-call]  # torch does not annotate it
        head.__setstate__(copy.deepcopy(own, memo))
        return head

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch does not annotate it
        for layer in self.children():
            if isinstance(layer, Prototypes):
                layer.belongs_to(self)

    def _logits(self, x: Tensor, source: Tensor) -> Tensor:
        """The MLP's output (..., D) -> logits (..., K) of its dtype. `source`: the head's input."""
        padding = self._padding(source)
        return self._compare(self.last_layer, self._unit(self.last_layer, x, padding), padding, x.dtype)

    def _padding(self, source: Tensor) -> Tensor | None:
        """Which rows of the head's input are padding; None if it does not matter."""
        return None if self.norm is None and not self._is_decoupled() else is_padding(source)

    def _is_decoupled(self) -> bool:
        return isinstance(self.last_layer, Prototypes)

    def _unit(self, layer: nn.Module, x: Tensor, padding: Tensor | None) -> Tensor:
        """The MLP's output (..., D) -> rows of length 1, after the norm."""
        if isinstance(layer, Prototypes):
            return layer.unit(x, self.norm, padding)
        if self.norm is not None:
            x = normed(self.norm, x, padding, self.norm.training)
        return F.normalize(x, dim=-1, p=2, eps=self.least_half_length if x.dtype == torch.float16 else 1e-12)

    def _compare(self, layer: nn.Module, unit: Tensor, padding: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Rows of length 1 (..., D) -> logits (..., K) of `dtype`."""
        logits: Tensor = layer(unit, padding, dtype) if isinstance(layer, Prototypes) else layer(unit)
        return logits


def weight_normed(train_norms: bool) -> Callable[[int, int], nn.Module]:
    """Returns a function that creates the last layer of DINO, iBOT, DINOv2, lightly and solo-learn."""
    return lambda dim, components: JointPrototypes(dim, components, train_norms)


def plain_linear(dim: int, components: int) -> nn.Module:
    """Creates the last layer of DINOv3."""
    return nn.Linear(dim, components, bias=False)
