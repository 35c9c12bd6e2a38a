"""What the drop-in heads have in common: norm, prototypes, and whose rows are whose."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.dropin.layers import EmbeddingNorm, JointPrototypes, MixturePrototypes, norm_by_batch
from mixhead.dropin.registry import mixture

PROTOTYPES = ("joint", "online-gmm")
NORMS = (None, "batch")
_PICKLED = "mixhead state"


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """DINO's start of its linear layers: weights from a normal of std .02, cut off at +-2, biases 0.

    Drawn by the inverse of the distribution, as the originals do: `nn.init.trunc_normal_` did so until it
    went over to rejection, and the same seed is to give the same start.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.uniform_(-1, 1).erfinv_().mul_(0.02 * math.sqrt(2)).clamp_(-2, 2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class DropInHead(nn.Module):
    """A DINO head behind its MLP: norm, L2 norm, last layer. A subclass makes its MLP, then `_finish`es."""

    last_layer: JointPrototypes | MixturePrototypes

    def _finish(
        self, dim: int, components: int, train_norms: bool, prototypes: str, norm: str | None, name: str
    ) -> None:
        if prototypes not in PROTOTYPES:
            raise ValueError(f'prototypes is {prototypes!r}; allowed: "joint", "online-gmm"')
        if norm not in NORMS:
            raise ValueError(f'norm is {norm!r}; allowed: None, "batch"')
        if prototypes == "joint":
            self.last_layer = JointPrototypes(dim, components, train_norms)
        else:
            self.last_layer = MixturePrototypes(dim, components, name)
        if norm == "batch":
            self.norm = EmbeddingNorm(dim)
        self._marked = False
        self._join(copied=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> DropInHead:
        """A teacher is made so: another head of the same mixture."""
        head = memo[id(self)] = self.__new__(type(self))
        head.__setstate__(copy.deepcopy(self.__dict__, memo))
        return head

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled carries the mixture's state as a state dict does."""
        return {**self.__dict__, _PICKLED: self.last_layer.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved = state.pop(_PICKLED, None)
        super().__setstate__(state)
        self._join(copied=True)
        if saved is not None:
            self.last_layer.load_state_dict(saved)

    def _join(self, copied: bool) -> None:
        if isinstance(self.last_layer, MixturePrototypes):
            layer = self.last_layer
            mixture(layer.name).join(self, layer.components, layer.dim, copied)

    def is_teacher(self) -> bool:
        """Whether it has parameters, none of which requires a gradient, or was marked as a teacher's.

        What has no parameters has lost them to a wrapper that shards or replicates, and tells nothing.
        """
        requires = [parameter.requires_grad for parameter in self.parameters()]
        return self._marked or (bool(requires) and not any(requires))

    def mark_teacher(self) -> None:
        self._marked = True

    def _logits(self, x: Tensor) -> Tensor:
        """The MLP's output (..., D) -> logits (..., K) of its dtype."""
        if isinstance(self.last_layer, JointPrototypes):
            return self.last_layer(F.normalize(self._normed(x), dim=-1, p=2))
        if getattr(self, "_is_replica", False):
            raise RuntimeError(
                "DataParallel calls a head in several threads at once, which one mixture cannot follow: "
                "use DistributedDataParallel, or one GPU"
            )
        # Half precision has no room for the squares of the L2 norm.
        rows = F.normalize(self._normed(x).to(torch.promote_types(x.dtype, torch.float32)), dim=-1, p=2)
        return self.last_layer(rows, self._prototypes(rows, x.dtype))

    def _normed(self, x: Tensor) -> Tensor:
        if not hasattr(self, "norm"):
            return x
        flat = x.reshape(-1, x.shape[-1])
        if self._uses_batch_statistics():
            if len(flat) < 2:
                raise ValueError(
                    'norm="batch" needs at least two rows in training, and this batch has one: '
                    "use larger batches, drop the last partial one (drop_last=True), or norm=None"
                )
            if not self.norm.training:  # a teacher that lives in eval mode
                return norm_by_batch(self.norm, flat).view_as(x)
        return self.norm(flat).view_as(x)

    @torch.compiler.disable
    def _uses_batch_statistics(self) -> bool:
        if self.norm.training or isinstance(self.last_layer, JointPrototypes):
            return self.norm.training
        return mixture(self.last_layer.name).heads.feeds(self)

    @torch.compiler.disable
    def _prototypes(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """The prototypes for this call, which may be where a step ends or begins."""
        return mixture(self.last_layer.name).look_up(self, rows, dtype)
