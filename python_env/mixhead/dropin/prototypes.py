"""A last layer whose rows are the prototypes of a mixture."""

from __future__ import annotations

import copy
import math
import weakref
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.bridge import BridgeError
from mixhead.dropin.members import is_frozen_or_marked
from mixhead.dropin.norm import EmbeddingNorm, embedding_norm, normed
from mixhead.dropin.registry import mixture
from mixhead.dropin.state import State
from mixhead.joint import take_other_names
from mixhead.warn import warn

_STATE = "mixture."
_ROWS = "plugin.prototypes"  # in the state of mixhead's own plugins
_LENGTHS_DIFFER = 0.05


class Prototypes(nn.Module):
    """Replaces a last layer `nn.Linear(dim, components, bias=False)` by the prototypes of a mixture.

    Maps rows (..., dim) of any length to their cosines (..., components) with the prototypes. The layer has
    no parameters, and the prototypes get no gradient: the teacher's rows feed the mixture, which the plugin
    estimates outside the loss. Rows that are all zero are padding: they get logits but do not feed the
    mixture.

    The state dict holds `weight`, as that of the replaced layer would, and the mixture's whole state as
    `mixture.*`. Frozen heads omit that state, because the student's has it. The layer loads its own state
    dicts, and the weights of any last layer as a start.

    Args:
        dim: Dimension D of the rows.
        components: Number K of prototypes.
        name: The mixture. Layers with the same name share one; give student and teacher the same name.
        norm: "batch": a batch norm without parameters before the L2 norm. "syncbatch": the same, over the
            rows of all ranks. None: no norm.
        scale: A factor of the cosines, as if all prototypes had this length. None: 1.

    Raises:
        ValueError: If an argument is outside its allowed values, or if the other layers of the mixture have
            another size.

    Example:
        >>> student.last_layer = mixhead.Prototypes(256, 4096)
        >>> teacher = copy.deepcopy(student)
    """

    def __init__(
        self,
        dim: int,
        components: int,
        name: str = "default",
        norm: str | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        for what, size in (("dim", dim), ("components", components)):
            if not isinstance(size, Integral) or size < 1:
                raise ValueError(f"{what} is {size!r}; allowed: whole numbers from 1")
        if scale is not None and not (isinstance(scale, Real) and 0 < scale < math.inf):
            raise ValueError(f"scale is {scale!r}; allowed: a finite number above 0, or None")
        self.dim, self.components, self.name, self.scale = dim, components, name, scale
        self.norm = embedding_norm(norm, dim)
        self.weight_norm = False  # whether the replaced layer stores its weight as g and v
        self.marked = False
        self._head: weakref.ref[nn.Module] | None = None
        mixture(name).join(self, copied=False)

    def belongs_to(self, head: nn.Module) -> None:
        """Sets the head of this layer. The head's parameters tell a teacher from a student."""
        self._head = weakref.ref(head)

    def head(self) -> nn.Module | None:
        return None if self._head is None else self._head()

    @property
    def weight(self) -> Tensor:
        """A copy of the prototypes, (components, dim), with rows of length `scale`."""
        rows = mixture(self.name).steps.prototypes(torch.device("cpu"), torch.float32)
        return rows * (self.scale or 1)

    @property
    def weight_v(self) -> Tensor:
        return self.weight

    @property
    def weight_g(self) -> Tensor:
        return torch.ones(self.components, 1, device="cpu")

    @property
    def mixture(self) -> _Names:
        """For `torch.distributed.checkpoint`, which looks up the names of a state dict as attributes."""
        return _Names()

    def forward(
        self, rows: Tensor, padding: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Rows (..., dim) -> cosines (..., components), times the scale.

        The call counts as a teacher's or a student's, so it may begin or end a step.

        Args:
            rows: Rows of any length; or rows from `unit`, if `dtype` is given.
            padding: Which of the rows from `unit` are padding, (...) bool.
            dtype: The dtype of the cosines. None: that of the rows.
        """
        if dtype is None:
            padding, dtype = is_padding(rows), rows.dtype
            rows = self.unit(rows, self.norm, padding)
        prototypes = self._look_up(rows, padding, dtype)
        logits = F.linear(rows.to(prototypes.dtype), prototypes)
        return logits if self.scale is None else logits * self.scale

    def unit(self, rows: Tensor, norm: EmbeddingNorm | None, padding: Tensor | None) -> Tensor:
        """Rows (..., dim) of any length -> rows (..., dim) of length 1, after the norm."""
        if getattr(self, "_is_replica", False):
            raise RuntimeError(
                "DataParallel calls a head in several threads at once, which one mixture cannot follow: "
                "use DistributedDataParallel, or one GPU"
            )
        if norm is not None:
            rows = normed(norm, rows, padding, self._uses_batch_statistics(norm))
        # The squares of the L2 norm overflow half precision.
        return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch does not annotate it
    def _uses_batch_statistics(self, norm: EmbeddingNorm) -> bool:
        """True in training mode, and for a teacher that feeds the mixture in evaluation mode."""
        return norm.training or mixture(self.name).steps.may_feed(self)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch does not annotate it
    def _look_up(self, unit: Tensor, padding: Tensor | None, dtype: torch.dtype) -> Tensor:
        return mixture(self.name).steps.look_up(self, unit, padding, dtype)

    def extra_repr(self) -> str:
        scale = "" if self.scale is None else f", scale={self.scale}"
        return f'dim={self.dim}, components={self.components}, name="{self.name}"{scale}'

    def __getstate__(self) -> dict[str, Any]:
        """Pickles carry the mixture's state, like state dicts."""
        return {**self._own_state(), "_head": None, "_saved": self.state_dict()}

    def _own_state(self) -> dict[str, Any]:
        """That of a module, without the mixture's."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]  # as below
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved = state.pop("_saved", None)
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch does not annotate it
        mixture(self.name).join(self, copied=True)
        if saved is not None:
            self.load_state_dict(saved)

    def __deepcopy__(self, memo: dict[int, Any]) -> Prototypes:
        """Makes another layer of the same mixture: teachers are created by deepcopy."""
        copied = memo[id(self)] = self.__new__(type(self))
        copied.__setstate__({**copy.deepcopy(self._own_state(), memo), "_head": None})
        return copied

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        whole = not is_frozen_or_marked(self)
        prototypes, state = mixture(self.name).save(whole)
        if self.weight_norm:
            destination[f"{prefix}weight_g"] = torch.ones(self.components, 1, device="cpu")
            destination[f"{prefix}weight_v"] = prototypes.clone()
        else:
            destination[f"{prefix}weight"] = prototypes * (self.scale or 1)
        if whole and state is not None:
            destination[f"{prefix}{_STATE}step"] = torch.tensor(state.step, dtype=torch.float64, device="cpu")
            for name, tensor in sorted(state.tensors.items()):
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
        take_other_names(state_dict, prefix)
        key = next(
            (f"{prefix}{name}" for name in ("weight_v", "weight") if f"{prefix}{name}" in state_dict), None
        )
        if key is None:
            missing_keys.append(f"{prefix}{'weight_v' if self.weight_norm else 'weight'}")
            return
        weight = state_dict[key]
        weight = weight.detach() if isinstance(weight, Tensor) else torch.from_numpy(np.asarray(weight))
        saved = {
            name.removeprefix(prefix + _STATE): tensor.detach().cpu()
            for name, tensor in state_dict.items()
            if name.startswith(prefix + _STATE)
        }
        # A script may replace `weight` by one of this head's size and leave the mixture's state as it was.
        rows = saved.get(_ROWS, weight)
        for name, matrix in ((key, weight), (f"{prefix}{_STATE}{_ROWS}", rows if rows.ndim == 2 else weight)):
            if matrix.shape != (self.components, self.dim):
                error_msgs.append(self._misfit(name, matrix))
                return
        # Rounded, since an average of two equal states may be off by a bit.
        step = round(saved.pop("step", torch.zeros((), device="cpu")).item())
        state = State(step, {name: tensor.float().numpy() for name, tensor in saved.items()})
        weight = _whole(weight).float().cpu()
        try:
            if state.tensors and not state.is_blank:
                mixture(self.name).load(weight / (self.scale or 1), state)
            else:
                self._start_from(weight, of_free_length=key.endswith("weight"))
        except BridgeError as error:
            error_msgs.append(str(error))

    def _misfit(self, name: str, matrix: Tensor) -> str:
        holds = f"has the shape {tuple(matrix.shape)}"
        if matrix.ndim == 2:
            holds = f"holds {matrix.shape[0]:,} prototypes of dimension {matrix.shape[1]}"
        return (
            f"size mismatch for {name}: the checkpoint {holds}, this head has {self.components:,} of "
            f"dimension {self.dim}: make a head of the checkpoint's size, or remove the checkpoint's last "
            "layer and load with strict=False"
        )

    def _start_from(self, weight: Tensor, of_free_length: bool) -> None:
        length, scale = weight.norm(dim=1).median().item(), self.scale or 1
        if of_free_length and abs(length / scale - 1) > _LENGTHS_DIFFER:
            warn(
                f"the loaded last layer has rows of length {length:.2g} (median), but logits are cosines "
                f"times {scale:g} here: to keep the old size of the logits, give scale={length:.2g}"
            )
        mixture(self.name).start(F.normalize(weight, dim=1))


class _Names:
    """Has every attribute, each with a meaningless value."""

    def __getattr__(self, name: str) -> _Names:
        if name.startswith("_"):
            raise AttributeError(name)
        return self


def is_padding(rows: Tensor) -> Tensor:
    """Rows (..., D) -> (...) bool: whether a row is all zero."""
    return (rows == 0).all(dim=-1)


def _whole(tensor: Tensor) -> Tensor:
    """Gathers a tensor that is sharded over ranks."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
