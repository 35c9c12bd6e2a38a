"""Recognises tensors and NumPy arrays in a pickle by the functions that would rebuild them."""

import re
from functools import partial
from math import prod
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from mixhead.checkpoint.entry import Entry
from mixhead.checkpoint.errors import CheckpointError, one_ranks_shard
from mixhead.checkpoint.pickled import StandIn, Storage

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
}
DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
NUMPY_DTYPE = re.compile(r"[fiu][1248]|b1")


class Storages(Protocol):
    """The data of a file's tensors."""

    def size(self, key: str) -> int:
        """The number of bytes of a storage that the file actually has; 0 if it lacks the storage."""

    def read(self, key: str, start: int, count: int) -> bytearray:
        """``count`` bytes from ``start`` on, within ``size``."""


def entry_of(value: object, storages: Storages, what: str) -> Entry | None:
    """The tensor or array that ``value`` describes; None if it describes something else.

    ``what`` names it in error messages. Raises ValueError if PyTorch never writes such a description.
    """
    if not isinstance(value, StandIn):
        return None
    of = partial(entry_of, storages=storages, what=what)
    match value.name.removeprefix("torch._utils."), value.given:
        case "_rebuild_tensor" | "_rebuild_tensor_v2", (Storage() as storage, offset, size, stride, *_):
            return _strided(storage, None, (offset, size, stride), storages, what)
        case "_rebuild_tensor_v3", (Storage() as storage, offset, size, stride, _, _, dtype, *_):
            return _strided(storage, dtype, (offset, size, stride), storages, what)
        case (
            (
                "_rebuild_parameter"
                | "_rebuild_parameter_with_state"
                | "_rebuild_device_tensor_from_cpu_tensor"
                | "_rebuild_device_tensor_from_numpy"
                | "_rebuild_xla_tensor"
            ),
            (data, *_),
        ):
            return of(data)
        case "torch._tensor._rebuild_from_type_v2" | "torch._tensor._rebuild_from_type", (
            type() as function,
            _,
            tuple() as given,
            state,
        ):
            plain = function(*given)
            return _shard(plain, state, storages, what) or of(plain)
        case "_rebuild_sparse_tensor", (_, tuple() as data):
            sizes = next(
                integers(part) for part in data if isinstance(part, tuple) or _is(part, "torch.Size")
            )
            return Entry(sizes, True, partial(_fail, f"{what} is sparse; save it with to_dense()"))
        case "_rebuild_meta_tensor_no_storage", (dtype, size, *_):
            words = f"{what} is on the meta device: it has a shape and no numbers"
            return Entry(integers(size), dtype_of(dtype).is_floating_point, partial(_fail, words))
        case "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct", _:
            match value.state:
                case (int(), shape, dtype, bool(fortran), data):
                    return _array(shape, dtype, "F" if fortran else "C", data, what)
        case "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer", (
            data,
            dtype,
            shape,
            "C" | "F" as order,
        ):
            return _array(shape, dtype, order, data, what)
    return None


def storage_of(storage: Storage) -> tuple[torch.dtype, str, int]:
    """The dtype of a storage, its key, and the offset of its view, in elements."""
    match storage.given:
        case ("storage", type() as kind, key, _, int(), *view) if issubclass(kind, StandIn):
            match view:
                case [] | [None]:
                    offset = 0
                case [(_, int(offset), int())]:
                    pass
                case _:
                    raise ValueError(view)
            return STORAGES[kind.name.rsplit(".", 1)[-1]], str(key), offset
    raise ValueError(storage.given)


def _strided(
    storage: Storage, dtype: object, place: tuple[object, object, object], storages: Storages, what: str
) -> Entry:
    stored, key, start = storage_of(storage)
    kind = stored if dtype is None else dtype_of(dtype)
    offset, size, stride = place
    shape, steps = integers(size), integers(stride)
    if not isinstance(offset, int) or len(shape) != len(steps) or min((offset, start, *shape, *steps)) < 0:
        raise ValueError(place)
    first = offset * kind.itemsize + start * stored.itemsize
    return Entry(
        shape, kind.is_floating_point, partial(_read_strided, kind, first, shape, steps, key, storages, what)
    )


def _read_strided(
    dtype: torch.dtype,
    first: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    key: str,
    storages: Storages,
    what: str,
) -> Tensor:
    """Reads a tensor after checking that the file has all of its data. Otherwise a small file could request
    any amount of memory."""
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    there = storages.size(key)
    extent = dtype.itemsize * (1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)))
    if first + extent > there:
        raise CheckpointError(f"{what} is not all there: the file is cut short or damaged")
    if prod(shape) * dtype.itemsize > there:
        raise CheckpointError(f"{what} repeats numbers, as expand does; save it with contiguous()")
    data = storages.read(key, first, extent)
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype).as_strided(shape, strides)


def _shard(plain: object, state: object, storages: Storages, what: str) -> Entry | None:
    """A DTensor or ShardedTensor: this rank's part, if it is the whole tensor; else an entry that fails."""
    match plain:
        case StandIn(name="torch._utils._rebuild_wrapper_subclass", given=(_, dtype, size, *_)):
            shape, floating = integers(size), dtype_of(dtype).is_floating_point
        case _:
            return None
    match state:
        case {"_local_tensor": local} | (_, {"_local_tensor": local}):
            pass
        case ([StandIn(state=(_, {"tensor": local}))], *_):
            pass
        case (list(), *_):
            local = None
        case _:
            return None
    part = entry_of(local, storages, what)
    if part is not None and part.shape == shape:
        return part
    return Entry(shape, floating, partial(_fail, one_ranks_shard(what)))


def _array(shape: object, dtype: object, order: Literal["C", "F"], data: object, what: str) -> Entry | None:
    match dtype:
        case StandIn(name="numpy.dtype", given=(str(letters), *_), state=(_, str(byte_order), *_)):
            pass
        case _:
            return None
    match data:
        case StandIn(name="_codecs.encode", given=(str(text), *_)) | str(text):
            data = text.encode("latin1")
        case bytes() | bytearray():
            pass
        case _:
            return None
    if NUMPY_DTYPE.fullmatch(letters) is None:
        return None
    kind, sizes = np.dtype(byte_order + letters), integers(shape)
    if prod(sizes) * kind.itemsize != len(data):
        raise ValueError(sizes)

    def read() -> Tensor:
        array = np.frombuffer(data, kind).reshape(sizes, order=order)
        return torch.from_numpy(array.astype(kind.newbyteorder("="), order="C"))

    return Entry(sizes, kind.kind == "f", read)


def integers(value: object) -> tuple[int, ...]:
    match value:
        case (
            StandIn(name="torch.Size", given=((tuple() | list()) as numbers,))
            | (tuple() as numbers)
            | (list() as numbers)
        ):
            if all(isinstance(number, int) for number in numbers):
                return tuple(numbers)
    raise ValueError(value)


def dtype_of(value: object) -> torch.dtype:
    if isinstance(value, type) and issubclass(value, StandIn):
        return DTYPES[value.name]
    raise ValueError(value)


def _is(value: object, name: str) -> bool:
    return isinstance(value, StandIn) and value.name == name


def _fail(words: str) -> Tensor:
    raise CheckpointError(words)
