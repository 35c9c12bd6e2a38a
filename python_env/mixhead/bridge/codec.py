"""Messages to frames and back."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import UNSET, structs
from msgspec.msgpack import Encoder

from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import FRAME_BYTES, Dtype, Header, TensorInfo, read

_NUMPY: dict[Dtype, str] = {
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int32": "<i4",
    "uint8": "|u1",
    "bool": "|b1",
}
_NAMES = {np.dtype(code): name for name, code in _NUMPY.items() if name != "bfloat16"}
_EXACT = 2**53
_encoder = Encoder()

Tensors = dict[str, np.ndarray]


def encode(header: Header, tensors: Mapping[str, np.ndarray] | None = None) -> list[bytes | memoryview]:
    """A message as frames. Tensor frames are views of the arrays: leave these alone until sent.

    Raises ProtocolError if a value is not allowed.
    """
    infos: list[TensorInfo] = []
    frames: list[memoryview] = []
    for name, tensor in (tensors or {}).items():
        array = np.ascontiguousarray(tensor)
        if array.dtype not in _NAMES:
            raise ProtocolError(
                f'tensor "{name}" is {array.dtype}; float32, float16, int32, uint8 and bool can travel'
            )
        data = array.reshape(-1).view(np.uint8).data
        parts = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)]
        frames += parts
        infos.append(TensorInfo(name, _NAMES[array.dtype], list(tensor.shape), len(parts)))
    # As a map: a struct of more than 15 fields takes the longer form, however few of them are set.
    fields = {"type": header.kind, **structs.asdict(header), "tensors": infos}
    if "scalars" in fields:
        fields["scalars"] = {name: _number(value) for name, value in fields["scalars"].items()}
    packed = _encoder.encode({name: value for name, value in fields.items() if value is not UNSET})
    read(packed)
    return [packed, *frames]


def _number(value: float) -> float | int:
    """Whole numbers travel as integers, as JavaScript writes them: both sides make the same bytes."""
    value = float(value)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def decode(frames: Sequence[Any]) -> tuple[Header, Tensors]:
    """A header and its tensors, which are new, writable arrays. Raises ProtocolError, and nothing else, if
    they do not fit together or if the frames are no message."""
    first = memoryview(frames[0]).cast("B") if len(frames) > 0 else b""
    header = read(first)
    at, tensors = 1, Tensors()
    for info in header.tensors or ():
        what = f'tensor "{info.name:.100}" of {header.kind}'
        if info.name in tensors:
            raise ProtocolError(f"{what} comes twice")
        parts = [memoryview(frame).cast("B") for frame in frames[at : at + info.frames]]
        if len(parts) != info.frames:
            raise ProtocolError(f"{what} lacks frames: {len(parts)} of {info.frames}")
        tensors[info.name] = _tensor(what, info, parts)
        at += len(parts)
    if at != len(frames):
        raise ProtocolError(f"{header.kind} describes {at - 1} frames, {len(frames) - 1} came")
    return header, tensors


def _tensor(what: str, info: TensorInfo, parts: list[memoryview]) -> np.ndarray:
    shape, dtype = info.shape, np.dtype(_NUMPY[info.dtype])
    expected, got = math.prod(shape) * dtype.itemsize, sum(len(part) for part in parts)
    if got != expected:
        raise ProtocolError(f"{what} is {shape} {info.dtype}, {expected} bytes; {got} bytes came")
    data, at = np.empty(expected, np.uint8), 0
    for part in parts:
        data[at : at + len(part)] = part
        at += len(part)
    if info.dtype == "bool" and data.size and data.max() > 1:
        raise ProtocolError(f"{what} is bool, but holds {data.max()}")
    try:
        array = data.view(dtype).reshape(shape)
    except ValueError as error:  # no numbers, and so many of them that there is no such array
        raise ProtocolError(f"{what} has an impossible shape: {shape}") from error
    if info.dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if info.dtype == "float16" else array
