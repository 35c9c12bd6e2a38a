"""The plugin's answer to a step, checked before anybody computes with it."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mixhead.bridge.codec import Tensors
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import Header


@dataclass(frozen=True)
class Targets:
    """The plugin's answer to a step."""

    step: int
    scalars: dict[str, float]  # the clock's values
    commands: list[str]  # to carry out after the optimizer's step, each answered by `send_result`
    rows: np.ndarray | None  # (R, D) float32: prototypes that changed
    indices: np.ndarray | None  # (R,) int32: which they are; None: `rows` are all of them
    targets: np.ndarray | Tensor | None  # (N, K) float32: a distribution for each row that was sent
    prototypes: Tensor | None = (
        None  # (K, D): all of them, where they are on the device; nobody writes to them
    )


def read_targets(
    header: Header, tensors: Tensors, count: int, components: int, dim: int, made: Tensor | None = None
) -> Targets:
    """The answer to `count` rows. K and D are checked where they are known, that is, not 0.

    made: the target rows that a run has made on the device, in place of any that were sent.

    Raises ProtocolError where the tensors do not go together.
    """
    rows, indices = tensors.get("rows"), tensors.get("indices")
    targets = _dense(tensors, components) if "targets.offsets" in tensors else tensors.get("targets")
    if rows is not None:
        expected = len(indices) if indices is not None else components
        _require(_is_matrix(rows, expected, dim), "prototype rows", rows)
    if indices is not None:
        _require(
            rows is not None and indices.ndim == 1 and _are_indices(indices, components), "indices", indices
        )
    if targets is not None:
        _require(_is_matrix(targets, count, components), "targets", targets)
    if made is not None:
        _require(
            made.shape[0] == count and made.shape[1] in (components, components or made.shape[1]),
            "targets",
            made,
        )
    scalars, commands = header["scalars"], header["commands"]
    return Targets(header["step"], scalars, commands, rows, indices, targets if made is None else made)


def _dense(tensors: Tensors, components: int) -> np.ndarray:
    """Sparse target rows (CSR), filled up with zeros."""
    offsets, columns, values = (tensors.get(f"targets.{part}") for part in ("offsets", "columns", "values"))
    if offsets is None or columns is None or values is None or len(offsets) == 0:
        raise ProtocolError("the plugin sent sparse targets that lack a part")
    counts = np.diff(offsets)
    ends = offsets[0] == 0 and offsets[-1] == len(columns) == len(values)
    _require(ends and (counts >= 0).all() and _are_indices(columns, components), "sparse targets", columns)
    dense = np.zeros((len(counts), components), np.float32)
    dense[np.repeat(np.arange(len(counts)), counts), columns] = values
    return dense


def _is_matrix(array: np.ndarray, rows: int, columns: int) -> bool:
    """Whether this is rows x columns of float32; 0: any number."""
    if array.dtype != np.float32 or array.ndim != 2:
        return False
    return all(known in (0, size) for known, size in zip((rows, columns), array.shape, strict=True))


def _are_indices(array: np.ndarray, count: int) -> bool:
    if array.dtype != np.int32:
        return False
    return len(array) == 0 or (array.min() >= 0 and (count == 0 or array.max() < count))


def _require(holds: bool, what: str, array: np.ndarray | Tensor) -> None:
    if not holds:
        raise ProtocolError(f"the plugin sent {what} that do not fit: {array.dtype} {list(array.shape)}")
