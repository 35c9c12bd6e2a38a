from __future__ import annotations

import json
from pathlib import Path

from mixhead.checkpoint.entry import Entry
from mixhead.checkpoint.errors import CheckpointError


def read_safetensors(path: Path) -> dict[str, Entry]:
    """Reads the tensors of a .safetensors file by name. Raises CheckpointError."""
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        if is_cut_short(path):
            raise CheckpointError(f"{path} is cut short: the end of the file is missing") from error
        raise CheckpointError(f"{path} is not a safetensors file, or a damaged one") from error

    def entry(name: str) -> Entry:
        part = file.get_slice(name)
        return Entry(
            tuple(part.get_shape()), part.get_dtype().startswith(("F", "BF")), lambda: file.get_tensor(name)
        )

    return {name: entry(name) for name in file.keys()}  # noqa: SIM118


def is_cut_short(path: Path) -> bool:
    """Whether the header is complete and declares more bytes than the file has."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < size:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"]
            return 8 + length + max(ends, default=0) > size
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return False
