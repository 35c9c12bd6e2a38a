"""Folders of ``torch.distributed.checkpoint``: pieces of tensors, and ``.metadata``, which locates them.

PyTorch loads ``.metadata`` as a pickle, which may run any code. This reader only produces stand-ins from it,
needs no process group, and reads single tensors on demand.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from mixhead.checkpoint.entry import Entry
from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.pickled import RunsCodeError, StandIn, Unpickler
from mixhead.checkpoint.tensors import dtype_of, integers
from mixhead.checkpoint.torch_file import read_torch

METADATA = ".metadata"
LISTED = 5
Place = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """A piece of a tensor in a rank's file: ``length`` bytes in torch.save's format, from ``start`` on."""

    file: Path
    start: int
    length: int
    compressed: bool


def read_dcp(folder: Path) -> dict[str, Entry]:
    """Reads the tensors of a checkpoint's folder by their state dict names. Raises CheckpointError."""
    if not (folder / METADATA).is_file():
        raise CheckpointError(no_metadata(folder))
    try:
        with (folder / METADATA).open("rb") as file:
            metadata = _fields(Unpickler(file).load())
        tensors, pieces = metadata["state_dict_metadata"], _pieces(folder, metadata["storage_data"])
        if not isinstance(tensors, dict):
            raise ValueError(tensors)
        found = {str(name): _entry(folder, str(name), tensor, pieces) for name, tensor in tensors.items()}
    except (CheckpointError, OSError):
        raise
    except RunsCodeError as error:
        raise CheckpointError(
            f"{folder}: its {METADATA} holds a Python object ({error}), which is not loaded since it can run "
            "code"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{folder}: its {METADATA} is not PyTorch's, or damaged") from error
    return {name: entry for name, entry in found.items() if entry is not None}


def no_metadata(folder: Path) -> str:
    if any(folder.glob("*.distcp")):
        return f"{folder} has no {METADATA}: it was not saved completely, or this hidden file was not copied"
    inside = sorted(path for path in folder.iterdir() if path.is_file() or (path / METADATA).is_file())
    names = ", ".join(path.name for path in inside[:LISTED])
    more = f" and {len(inside) - LISTED} more" if len(inside) > LISTED else ""
    return (
        f"{folder} is a folder, but not a checkpoint of torch.distributed.checkpoint: it has no {METADATA}"
        + (f"; in it: {names}{more}" if inside else "; it is empty")
    )


def _fields(value: object) -> dict[str, object]:
    match value:
        case StandIn(state=dict(state)):
            return {str(name): field for name, field in state.items()}
    raise ValueError(value)


def _pieces(folder: Path, data: object) -> dict[tuple[str, Place], Piece]:
    """Pieces by the name of their tensor and their offset in it, () for objects that are not tensors."""
    if not isinstance(data, dict):
        raise ValueError(data)
    pieces: dict[tuple[str, Place], Piece] = {}
    for key, value in data.items():
        index, info = _fields(key), _fields(value)
        match index.get("fqn"), info:
            case str(name), {"relative_path": str(path), "offset": int(start), "length": int(length)}:
                # Refuse paths that lead outside the folder.
                if Path(path).name != path or min(start, length) < 0:
                    raise ValueError(path)
                place = index.get("offset")
                pieces[name, () if place is None else integers(place)] = Piece(
                    folder / path, start, length, compressed=bool(info.get("transform_descriptors"))
                )
            case _:
                raise ValueError(info)
    return pieces


def _entry(folder: Path, name: str, value: object, pieces: Mapping[tuple[str, Place], Piece]) -> Entry | None:
    fields = value.state if isinstance(value, StandIn) else None
    match fields:
        case {"properties": StandIn(state=(dtype, *_)), "size": size, "chunks": list(chunks)}:
            shape = integers(size)
        case _:
            return None  # not a tensor
    places = []
    for chunk in map(_fields, chunks):
        at = integers(chunk["offsets"])
        places.append((at, integers(chunk["sizes"]), pieces.get((name, at))))
    read = partial(_read, f"{folder}: {name}", shape, places)
    return Entry(shape, dtype_of(dtype).is_floating_point, read)


def _read(what: str, shape: Place, places: list[tuple[Place, Place, Piece | None]]) -> Tensor:
    parts = [(at, _read_piece(what, sizes, piece)) for at, sizes, piece in places]
    if sum(part.numel() for _, part in parts) != prod(shape) or not parts:
        raise CheckpointError(f"{what} is not all there")
    whole = torch.empty(shape, dtype=parts[0][1].dtype)
    for at, part in parts:
        region = tuple(slice(first, first + n) for first, n in zip(at, part.shape, strict=True))
        if whole[region].shape != part.shape:
            raise CheckpointError(f"{what} has pieces that do not fit")
        whole[region] = part
    return whole


def _read_piece(what: str, sizes: Place, piece: Piece | None) -> Tensor:
    if piece is None:
        raise CheckpointError(f"{what} is not all there")
    if piece.compressed:
        raise CheckpointError(f"{what} is compressed; save it without extensions")
    if not piece.file.is_file():
        raise CheckpointError(
            f"{what} is not all there: {piece.file.name} is missing; copy the files of all ranks"
        )
    try:
        with piece.file.open("rb") as file:
            file.seek(piece.start)
            data = file.read(min(piece.length, piece.file.stat().st_size))
    except OSError as error:
        raise CheckpointError(f"cannot read {piece.file}: {error.strerror}") from error
    if len(data) < piece.length:
        raise CheckpointError(f"{what} is not all there: {piece.file.name} is cut short")
    tensor = read_torch(io.BytesIO(data), piece.file).get("")
    if tensor is None or len(tensor.shape) != len(sizes):
        raise CheckpointError(f"{what}: {piece.file.name} is damaged")
    return tensor.read()[tuple(slice(n) for n in sizes)]
