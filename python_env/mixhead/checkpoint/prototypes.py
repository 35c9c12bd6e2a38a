"""Finds the tensor of a checkpoint that holds the prototypes.

This module knows the last layer's name in checkpoints of DINO, DINOv2, DINOv3, iBOT, Franca, CARP, SwAV,
MSN, CAPI, lightly, lightly-train, solo-learn, birder and mixhead itself. If no name matches, it takes the
last linear layer of a projector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mixhead.checkpoint.entry import Entry
from mixhead.checkpoint.errors import CheckpointError, one_ranks_shard
from mixhead.checkpoint.files import read_entries
from mixhead.checkpoint.names import (
    FLAT,
    LAST_LAYER,
    LAST_OF_SEQUENTIAL,
    OPTIMIZER,
    PATCHES,
    owner,
    plain_name,
)

LISTED = 20
# CAPI saves one file per rank. Only the file's name shows that its tensors are parts.
RANKS_FILE = re.compile(r"rank_?\d+")
RANKS_PART = re.compile(r"\.parametrizations\.\w+\.original$")


@dataclass(frozen=True)
class Prototypes:
    """Prototypes (K, D), float32. ``others``: names of further candidates, best first."""

    key: str
    rows: Tensor
    others: list[str]
    guessed: bool
    """Whether no known name matched, and this is the last linear layer of a projector."""


def read_prototypes(path: Path, key: str | None = None) -> Prototypes:
    """Reads the rows of the last layer, or of the tensor `key`, and converts them by `in_float32`.

    They are neither normalised nor checked. Raises CheckpointError.
    """
    entries = read_entries(path)
    named = candidates(entries) if key is None else [resolve(path, entries, key)]
    names = named or last_of_sequentials(entries)
    if not names and any(FLAT.search(name) for name in entries):
        raise CheckpointError(one_ranks_shard(str(path)))
    if not names:
        raise CheckpointError(
            f"{path} has no last layer with a known name; --key selects one of its 2-D tensors: "
            f"{listing(entries)}"
        )
    if RANKS_FILE.search(path.name) and RANKS_PART.search(names[0]):
        raise CheckpointError(one_ranks_shard(str(path)))
    return Prototypes(names[0], in_float32(entries[names[0]].read()), names[1:], guessed=not named)


def in_float32(rows: Tensor) -> Tensor:
    """Converts rows (K, D) to float32. Only their direction counts, so a row that overflows or underflows
    float32 is first divided by its largest entry."""
    converted = rows.float().contiguous()
    if rows.dtype == torch.float64:
        largest = torch.linalg.vector_norm(rows, torch.inf, 1)
        limits = torch.finfo(torch.float32)
        beyond = ((largest > limits.max) | (largest < limits.tiny)) & (largest > 0) & largest.isfinite()
        converted[beyond] = (rows[beyond] / largest[beyond, None]).float()
    return converted


def candidates(entries: Mapping[str, Entry]) -> list[str]:
    """Names of last layers, best first: teachers before students, image heads before patch heads, then by
    decreasing number of rows."""

    def rank(name: str) -> tuple[int, bool, int]:
        return owner(name), bool(PATCHES.search(name)), -entries[name].shape[0]

    alone = len(entries) == 1 and "" in entries
    found = [name for name in matrices(entries) if alone or LAST_LAYER.search(plain_name(name))]
    return sorted(found, key=rank)


def last_of_sequentials(entries: Mapping[str, Entry]) -> list[str]:
    """Names of the last linear layers of projectors, best first.

    Prototypes have no bias, and there are more of them than dimensions; other projectors end in fewer rows.
    """
    plain = {plain_name(name) for name in entries}
    layers: dict[str, list[tuple[int, str]]] = {}
    for name in matrices(entries):
        if match := LAST_OF_SEQUENTIAL.fullmatch(plain_name(name)):
            layers.setdefault(match["sequential"], []).append((int(match["index"]), name))
    last = [max(stack)[1] for stack in layers.values() if len(stack) > 1]
    found = [
        name
        for name in last
        if entries[name].shape[0] > entries[name].shape[1]
        and plain_name(name).removesuffix("weight") + "bias" not in plain
    ]
    return sorted(found, key=lambda name: (owner(name), -entries[name].shape[0]))


def matrices(entries: Mapping[str, Entry]) -> list[str]:
    """Names of 2-D tensors, without the states of optimizers."""
    return [name for name, entry in entries.items() if entry.is_matrix and not OPTIMIZER.search(name)]


def resolve(path: Path, entries: Mapping[str, Entry], key: str) -> str:
    """The name of the tensor `key`, given in full or as a unique ending, with or without wrappers.

    Raises CheckpointError if there is no such tensor, if there are several, or if it is not 2-D.
    """
    ends = [
        name
        for name in entries
        if f".{name}".endswith(f".{key}") or f".{plain_name(name)}".endswith(f".{key}")
    ]
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
    """Lists the 2-D tensors by decreasing number of rows, a teacher's first. Layers that differ only in the
    number of their block are listed once."""
    alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name in matrices(entries):
        alike.setdefault((re.sub(r"(?<=\.)\d+(?=\.)", "*", name), entries[name].shape), []).append(name)
    lines = []
    for (pattern, shape), names in sorted(
        alike.items(), key=lambda item: (-item[0][1][0], owner(item[0][0]))
    ):
        size = " x ".join(map(str, shape))
        lines.append(f"{pattern} ({len(names)} of {size})" if len(names) > 1 else f"{names[0]} ({size})")
    more = f" and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    return ", ".join(lines[:LISTED]) + more if lines else "it has none"
