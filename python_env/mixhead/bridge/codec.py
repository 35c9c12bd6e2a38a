"""Messages to frames and back."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import FIELDS, FRAME_BYTES, MAX_ITEMS, SINCE_VERSION_3, Header, check

_NUMPY = {
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int32": "<i4",
    "uint8": "|u1",
    "bool": "|b1",
}
_NAMES = {np.dtype(code): name for name, code in _NUMPY.items() if name != "bfloat16"}
_EXACT = 2**53

Tensors = dict[str, np.ndarray]


def encode(
    header: Mapping[str, Any], tensors: Mapping[str, np.ndarray] | None = None
) -> list[bytes | memoryview]:
    """A message as frames. Tensor frames are views of the arrays: leave these alone until sent."""
    infos, frames = [], []
    for name, tensor in (tensors or {}).items():
        array = np.ascontiguousarray(tensor)
        if array.dtype not in _NAMES:
            raise ProtocolError(
                f'tensor "{name}" is {array.dtype}; float32, float16, int32, uint8 and bool can travel'
            )
        data = array.reshape(-1).view(np.uint8).data
        parts = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)]
        frames += parts
        infos.append(
            {"name": name, "dtype": _NAMES[array.dtype], "shape": list(tensor.shape), "frames": len(parts)}
        )
    kind = header["type"]
    later = SINCE_VERSION_3.get(kind, set()) - header.keys()
    names = [name for name in FIELDS[kind] if name not in later]
    ordered = {"type": kind, **{name: header[name] for name in names}, "tensors": infos}
    if "scalars" in ordered:
        ordered["scalars"] = {name: _number(value) for name, value in ordered["scalars"].items()}
    return [msgpack.packb(check(ordered)), *frames]


def _number(value: float) -> float | int:
    """Whole numbers travel as integers, as JavaScript writes them: both sides make the same bytes."""
    value = float(value)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def decode(frames: Sequence[Any]) -> tuple[Header, Tensors]:
    """A header and its tensors, which are new, writable arrays. Raises ProtocolError, and nothing else, if
    they do not fit together or if the frames are no message."""
    header = check(_unpack(frames))
    if "scalars" in header:
        header["scalars"] = {name: float(value) for name, value in header["scalars"].items()}
    kind, at, tensors = header["type"], 1, {}
    for info in header["tensors"]:
        what = f'tensor "{info["name"]:.100}" of {kind}'
        if info["name"] in tensors:
            raise ProtocolError(f"{what} comes twice")
        parts = [memoryview(frame).cast("B") for frame in frames[at : at + info["frames"]]]
        if len(parts) != info["frames"]:
            raise ProtocolError(f"{what} lacks frames: {len(parts)} of {info['frames']}")
        tensors[info["name"]] = _tensor(what, info, parts)
        at += len(parts)
    if at != len(frames):
        raise ProtocolError(f"{kind} describes {at - 1} frames, {len(frames) - 1} came")
    return header, tensors


def _unpack(frames: Sequence[Any]) -> Any:
    first = memoryview(frames[0]).cast("B") if len(frames) > 0 else b""
    if len(first) > FRAME_BYTES:
        raise ProtocolError(f"a header has at most {FRAME_BYTES} bytes, not {len(first)}")
    try:
        return msgpack.unpackb(first, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a message arrived whose header is not msgpack: {error!s:.200}") from error


def _tensor(what: str, info: Header, parts: list[memoryview]) -> np.ndarray:
    shape, dtype = info["shape"], np.dtype(_NUMPY[info["dtype"]])
    expected, got = math.prod(shape) * dtype.itemsize, sum(len(part) for part in parts)
    if got != expected:
        raise ProtocolError(f"{what} is {shape} {info['dtype']}, {expected} bytes; {got} bytes came")
    data, at = np.empty(expected, np.uint8), 0
    for part in parts:
        data[at : at + len(part)] = part
        at += len(part)
    if info["dtype"] == "bool" and data.size and data.max() > 1:
        raise ProtocolError(f"{what} is bool, but holds {data.max()}")
    try:
        array = data.view(dtype).reshape(shape)
    except ValueError as error:  # no numbers, and so many of them that there is no such array
        raise ProtocolError(f"{what} has an impossible shape: {shape}") from error
    if info["dtype"] == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if info["dtype"] == "float16" else array
