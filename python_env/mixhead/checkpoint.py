"""Reads the prototypes out of a checkpoint: `python -m mixhead.checkpoint FILE [--key NAME] --out ROWS.npy`.

The last layer is found by its name in checkpoints of DINO, DINOv2, iBOT, CARP, SwAV, MSN, CAPI, lightly and
mixhead itself. Pickles are loaded as weights only: no code in them runs.
"""

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Weight-normalised layers (weight_v, original1) hold the direction apart from the length.
LAST_LAYER = re.compile(
    r"(^|\.)(last_layer\d*|prototypes?\d*|heads\.\d+|head\.layer|group_features)"
    r"(\.weight|\.weight_v|\.parametrizations\.weight\.original1)?$"
)
TEACHER = re.compile(r"teacher|target|momentum|(^|[._])ema([._]|$)")
STUDENT = re.compile(r"student|online")
PATCHES = re.compile(r"ibot|patch|last_layer2")
# What torch.load says of an object that it does not load.
REFUSED = re.compile(r"(?:GLOBAL|class|instantiate) ([\w.]+)")
LISTED = 20
# Dictionaries and lists in one another; those of checkpoints are fewer than ten deep.
DEEPEST = 100


class CheckpointError(Exception):
    """A mistake of the user's about a file: one sentence."""


@dataclass(frozen=True)
class Entry:
    """A tensor of a file, not read yet."""

    shape: tuple[int, ...]
    floating: bool
    read: Callable[[], Tensor]

    @property
    def is_matrix(self) -> bool:
        return self.floating and len(self.shape) == 2 and 0 not in self.shape


@dataclass(frozen=True)
class Prototypes:
    """K x D, float32; `others` are the names that would have done as well, best first."""

    key: str
    rows: Tensor
    others: list[str]


def read_prototypes(path: Path, key: str | None = None) -> Prototypes:
    """The rows of the last layer (or of `key`), as `in_float32` has them: not normalised, not checked."""
    entries = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    names = candidates(entries) if key is None else [resolve(path, entries, key)]
    if not names:
        raise CheckpointError(
            f"{path} has no last layer of a known name; --key chooses one of its 2-D tensors: "
            f"{listing(entries)}"
        )
    return Prototypes(names[0], in_float32(entries[names[0]].read()), names[1:])


def in_float32(rows: Tensor) -> Tensor:
    """Of rows only the direction counts: one that float32 cannot hold comes divided by its largest entry."""
    converted = rows.float().contiguous()
    if rows.dtype == torch.float64:
        largest = torch.linalg.vector_norm(rows, torch.inf, 1)
        limits = torch.finfo(torch.float32)
        beyond = ((largest > limits.max) | (largest < limits.tiny)) & (largest > 0) & largest.isfinite()
        converted[beyond] = (rows[beyond] / largest[beyond, None]).float()
    return converted


def candidates(entries: Mapping[str, Entry]) -> list[str]:
    """Names of last layers, best first: a teacher's before a student's, image heads before patch heads."""

    def rank(name: str) -> tuple[int, bool]:
        owner = 0 if TEACHER.search(name) else 2 if STUDENT.search(name) else 1
        return owner, bool(PATCHES.search(name))

    alone = len(entries) == 1 and "" in entries
    found = [
        name for name, entry in entries.items() if entry.is_matrix and (alone or LAST_LAYER.search(name))
    ]
    return sorted(found, key=rank)


def resolve(path: Path, entries: Mapping[str, Entry], key: str) -> str:
    """The tensor that `key` names in full, or by its end where only one ends so."""
    ends = [name for name in entries if name.endswith(f".{key}")]
    name = key if key in entries else ends[0] if len(ends) == 1 else None
    if name is None:
        several = f"{len(ends)} tensors" if ends else "no tensor"
        raise CheckpointError(f"{path} has {several} of the name {key}; its 2-D tensors: {listing(entries)}")
    entry = entries[name]
    if not entry.is_matrix:
        shape = " x ".join(map(str, entry.shape)) or "a single number"
        what = shape if entry.floating else f"{shape}, not of floating point"
        raise CheckpointError(f"{path}: {name} is {what}; prototypes x dimensions are needed")
    return name


def listing(entries: Mapping[str, Entry]) -> str:
    matrices = [f"{name} ({' x '.join(map(str, e.shape))})" for name, e in entries.items() if e.is_matrix]
    more = f" and {len(matrices) - LISTED} more" if len(matrices) > LISTED else ""
    return ", ".join(matrices[:LISTED]) + more if matrices else "it has none"


def read_safetensors(path: Path) -> dict[str, Entry]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a safetensors file, or a damaged one") from error

    def entry(name: str) -> Entry:
        part = file.get_slice(name)
        return Entry(
            tuple(part.get_shape()), part.get_dtype().startswith(("F", "BF")), lambda: file.get_tensor(name)
        )

    return {name: entry(name) for name in file.keys()}  # noqa: SIM118


# Scripts put their arguments and best scores beside the weights: a namespace and numpy's numbers do nothing.
SCALAR = np.float64(0).__reduce__()[0]
HARMLESS = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool")),
]
HARMLESS += [(SCALAR, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")]


def read_torch(path: Path) -> dict[str, Entry]:
    """The tensors of nested dictionaries and lists by their path, "teacher.head.last_layer.weight_v"."""
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle can raise anything
        if refused := REFUSED.search(str(error)):
            raise CheckpointError(
                f"{path} holds a Python object ({refused[1]}), which is not loaded since it can run code; "
                "save the state dict alone"
            ) from error
        raise CheckpointError(f"{path} is not a PyTorch checkpoint, or a damaged one") from error
    return {
        name: Entry(tuple(tensor.shape), tensor.is_floating_point(), partial(stored, path, name, tensor))
        for name, tensor in flatten(path, "", content)
    }


def flatten(path: Path, name: str, value: object, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        if not value.is_nested:  # it has no shape
            yield name, value.detach()
    elif isinstance(value, Mapping | list):
        if depth > DEEPEST:
            raise CheckpointError(
                f"{path} holds a dictionary or list that contains itself, or is more than {DEEPEST} deep"
            )
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from flatten(path, f"{name}.{key}" if name else str(key), item, depth + 1)


def stored(path: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor, where the file has each of its numbers: a small file can ask for any amount of memory."""
    what = f"{path}: {name}" if name else f"{path}: its tensor"
    if tensor.layout is not torch.strided:
        raise CheckpointError(f"{what} is sparse; save it with to_dense()")
    if tensor.is_meta:
        raise CheckpointError(f"{what} is on the meta device: it has a shape and no numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(f"{what} repeats numbers, as expand does; save it with contiguous()")
    return tensor


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mixhead.checkpoint", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--key", help="the name of the tensor; found by known names where it is left out")
    parser.add_argument("--out", type=Path, required=True, help="the .npy file to write, float32, K x D")
    options = parser.parse_args(arguments)
    try:
        if not options.file.is_file():
            raise CheckpointError(f"cannot read {options.file}: no such file")
        found = read_prototypes(options.file, options.key)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    np.save(options.out, found.rows.numpy())
    print(json.dumps({"key": found.key, "others": found.others}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
