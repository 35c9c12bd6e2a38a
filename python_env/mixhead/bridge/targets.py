"""The plugin's answer to a step, checked before anybody computes with it."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mixhead.bridge import protocol
from mixhead.bridge.codec import Tensors
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import Command


@dataclass(frozen=True)
class Targets:
    """The plugin's answer to a step."""

    step: int
    scalars: dict[str, float]  # the clock's values
    commands: list[Command]  # to carry out after the optimizer's step, each answered by `send_result`
    rows: np.ndarray | None  # (R, D) float32: prototypes that changed
    indices: np.ndarray | None  # (R,) int32: which they are; None: `rows` are all of them
    targets: np.ndarray | Tensor | None  # (N, K) float32: a distribution for each row that was sent
    prototypes: Tensor | None = None  # (K, D): all of them, if they are on the device; never written to


def read_targets(
    header: protocol.Targets,
    tensors: Tensors,
    count: int,
    components: int,
    dim: int,
    made: Tensor | None = None,
) -> Targets:
    """The answer to `count` rows. K and D are checked unless they are 0 (unknown).

    made: the target rows that a run has made on the device, in place of any that were sent.

    Raises ProtocolError if the tensors do not fit together.
    """
    rows, indices = tensors.get("rows"), tensors.get("indices")
    sparse = "targets.offsets" in tensors
    targets = _dense(tensors, count, components) if sparse else tensors.get("targets")
    if indices is not None:
        fits = rows is not None and _is_vector(indices, np.int32) and _are_indices(indices, components)
        _require(fits, "indices", indices)
    if rows is not None:
        expected = components if indices is None else len(indices)
        _require(indices is None or (len(rows.shape) == 2 and len(rows) == expected), "prototype rows", rows)
        require_rows(rows, expected, dim, "prototype rows")
    if targets is not None:
        require_rows(targets, count, components, "targets")
    if made is not None:
        _require(
            made.shape[0] == count and made.shape[1] in (components, components or made.shape[1]),
            "targets",
            made,
        )
    scalars, commands = header.scalars, header.commands
    return Targets(header.step, scalars, commands, rows, indices, targets if made is None else made)


def _dense(tensors: Tensors, count: int, components: int) -> np.ndarray:
    """Sparse target rows (CSR) of `count` rows, filled up with zeros."""
    offsets, columns, values = (tensors.get(f"targets.{part}") for part in ("offsets", "columns", "values"))
    if offsets is None or columns is None or values is None or components == 0:
        raise ProtocolError("the plugin sent sparse targets that lack a part")
    _require(_is_vector(offsets, np.int32) and len(offsets) == count + 1, "offsets of targets", offsets)
    _require(_is_vector(columns, np.int32) and _are_indices(columns, components), "sparse targets", columns)
    _require(_is_vector(values, np.float32), "sparse targets", values)
    wide = offsets.astype(np.int64)
    counts = wide[1:] - wide[:-1]
    ends = offsets[0] == 0 and offsets[-1] == len(columns) == len(values)
    _require(bool(ends and (counts >= 0).all()), "offsets of targets", offsets)
    dense = np.zeros((count, components), np.float32)
    dense[np.repeat(np.arange(count), counts), columns] = values
    return dense


def require_rows(array: np.ndarray, rows: int, columns: int, what: str) -> None:
    """Raises ProtocolError unless this is rows x columns (0: any number) of float32, all finite."""
    known = array.dtype == np.float32 and array.ndim == 2
    fits = known and all(size in (0, got) for size, got in zip((rows, columns), array.shape, strict=True))
    _require(fits, what, array)
    # A sum keeps values that are not finite, and neither unit vectors nor distributions overflow it.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(np.isfinite(array.sum(dtype=np.float32)))
    if not finite:
        raise ProtocolError(f"the plugin sent {what} that are not finite")


def _is_vector(array: np.ndarray, dtype: type) -> bool:
    return array.dtype == dtype and array.ndim == 1


def _are_indices(array: np.ndarray, count: int) -> bool:
    return len(array) == 0 or bool(array.min() >= 0 and (count == 0 or array.max() < count))


def _require(holds: bool, what: str, array: np.ndarray | Tensor) -> None:
    if not holds:
        raise ProtocolError(f"the plugin sent {what} that do not fit: {array.dtype} {list(array.shape)}")
