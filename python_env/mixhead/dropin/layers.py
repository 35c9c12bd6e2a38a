"""The last layer of a DINO head: learned prototypes, or the mixture's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.bridge import BridgeError
from mixhead.dropin.connection import State
from mixhead.dropin.registry import mixture

_STATE = "mixture."


class EmbeddingNorm(nn.BatchNorm1d):
    """A batch norm without parameters, whose backward pass needs no running statistics: scripts call a head
    once per view, and at each call DDP writes to the buffers that the last one would have kept."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, affine=False)

    def forward(self, rows: Tensor) -> Tensor:
        """(N, dim) -> (N, dim)."""
        return norm_by_batch(self, rows) if self.training else super().forward(rows)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A checkpoint of a head without a norm: what this one begins with leaves rows as they are."""
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def norm_by_batch(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """Rows (N, dim) by their own mean and variance, which the running statistics take up."""
    with torch.no_grad():
        variance, mean = torch.var_mean(rows.float(), dim=0)
        norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
        norm.running_var.lerp_(variance.to(norm.running_var), norm.momentum)
        norm.num_batches_tracked += 1
    return F.batch_norm(rows, None, None, training=True, eps=norm.eps)


class JointPrototypes(nn.Module):
    """`nn.utils.weight_norm(nn.Linear(dim, components, bias=False))` with g = 1, to the last bit, but without
    its hooks, which break `copy.deepcopy` and `torch.compile`: (..., dim) -> (..., components)."""

    def __init__(self, dim: int, components: int, train_norms: bool) -> None:
        super().__init__()
        start = nn.Linear(dim, components, bias=False).weight
        self.weight_g = nn.Parameter(torch.ones(components, 1), requires_grad=train_norms)
        self.weight_v = nn.Parameter(start.detach())

    @property
    def weight(self) -> Tensor:
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    def forward(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        _take_newer_names(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class MixturePrototypes(nn.Module):
    """The mixture's prototypes in the place of a last layer. It has no parameters and no buffers.

    Its state dict holds what a joint layer's would, `weight_g` (K, 1) and `weight_v` (K, D), and the
    mixture's whole state beside it as `mixture.*`; it loads that, or a joint layer's as a start.
    """

    def __init__(self, dim: int, components: int, name: str) -> None:
        super().__init__()
        self.dim, self.components, self.name = dim, components, name

    @property
    def weight(self) -> Tensor:
        """The prototypes (K, D), a copy."""
        return mixture(self.name).prototypes(torch.device("cpu"), torch.float32).clone()

    def forward(self, rows: Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Unit rows (..., D) -> cosines (..., K) with ``prototypes``, those that the heads use now; they get
        no gradient. Called by a script, it neither begins nor ends a step."""
        if prototypes is None:
            prototypes = mixture(self.name).prototypes(rows.device, rows.dtype)
        return F.linear(rows.to(prototypes.dtype), prototypes)

    def extra_repr(self) -> str:
        return f'dim={self.dim}, components={self.components}, name="{self.name}"'

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        prototypes, state = mixture(self.name).save()
        destination[f"{prefix}weight_g"] = torch.ones(self.components, 1, device="cpu")
        destination[f"{prefix}weight_v"] = prototypes.clone()
        if state is not None:
            destination[f"{prefix}{_STATE}step"] = torch.tensor(state.step, dtype=torch.float64, device="cpu")
            for name, tensor in state.tensors.items():
                destination[f"{prefix}{_STATE}{name}"] = torch.tensor(tensor, device="cpu")

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        _take_newer_names(state_dict, prefix)
        weight = state_dict.get(f"{prefix}weight_v")
        if weight is None:
            missing_keys.append(f"{prefix}weight_v")
            return
        if weight.shape != (self.components, self.dim):
            error_msgs.append(
                f"size mismatch for {prefix}weight_v: the checkpoint has {tuple(weight.shape)}, "
                f"the head {(self.components, self.dim)}"
            )
            return
        prototypes = weight.detach().float().cpu()
        saved = {
            key.removeprefix(prefix + _STATE): tensor.detach().cpu()
            for key, tensor in state_dict.items()
            if key.startswith(prefix + _STATE)
        }
        # Rounded, since an average of two equal states may be off by a bit.
        step = round(saved.pop("step", torch.zeros((), device="cpu")).item())
        tensors = {name: tensor.float().numpy() for name, tensor in saved.items()}
        if not tensors:
            prototypes = F.normalize(prototypes, dim=1)
            tensors = {"prototypes": prototypes.numpy()}
        try:
            mixture(self.name).load(prototypes, State(step, tensors))
        except BridgeError as error:
            error_msgs.append(str(error))


def _take_newer_names(state_dict: dict[str, Any], prefix: str) -> None:
    """Checkpoints of `nn.utils.parametrizations.weight_norm` have names of their own for g and v."""
    for newer, name in (("original0", "weight_g"), ("original1", "weight_v")):
        tensor = state_dict.pop(f"{prefix}parametrizations.weight.{newer}", None)
        if tensor is not None:
            state_dict[prefix + name] = tensor
