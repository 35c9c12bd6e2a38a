"""Loads the weights of an encoder from one of mixhead's checkpoints or from another project's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from mixhead.checkpoint.entry import Entry
from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.files import read_entries
from mixhead.checkpoint.names import owner, plain_name
from mixhead.worker.errors import WorkerError

ENCODER = "encoder.safetensors"  # the teacher's encoder in a checkpoint's folder
COUNTER = "num_batches_tracked"  # of batch norms; older files lack it, and evaluation does not need it


def load_encoder(encoder: nn.Module, path: Path, name: str) -> None:
    """Loads an encoder's weights.

    In a file, their names may have any prefix (``teacher.backbone.``, ``module.``). The prefix with most of
    the encoder's tensors is used, a teacher's first. Other tensors, such as those of heads, are ignored.

    Args:
        encoder: The encoder to fill.
        path: A checkpoint's folder, or a .pt, .pth or .safetensors file.
        name: The encoder's name, for error messages.

    Raises:
        WorkerError: If the file cannot be read, or holds another encoder.
    """
    file = path / ENCODER if path.is_dir() else path
    if not file.is_file():
        raise WorkerError(
            f"{path} is not a checkpoint: it has no {file.name}"
            if path.is_dir()
            else f"{path} does not exist"
        )
    try:
        entries = {plain_name(name): entry for name, entry in read_entries(file).items()}
    except CheckpointError as error:
        raise WorkerError(str(error)) from error
    wanted = {
        key: tuple(tensor.shape) for key, tensor in encoder.state_dict().items() if not key.endswith(COUNTER)
    }
    prefix = _prefix(entries, wanted)
    if problem := _problem(entries, wanted, prefix):
        raise WorkerError(f"{path} does not hold the encoder {name}: {problem}")
    found = {key: entries[prefix + key].read() for key in wanted}
    encoder.load_state_dict(found, strict=False)


def _prefix(entries: Mapping[str, Entry], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """The prefix that occurs before most of the encoder's names, a teacher's first."""
    ends = [f".{key}" for key in wanted]
    found = {name[: len(name) - len(end) + 1] for end in ends for name in entries if name.endswith(end)}

    def rank(prefix: str) -> tuple[int, int, str]:
        present = sum(prefix + key in entries for key in wanted)
        return -present, owner(prefix), prefix

    return min({"", *found}, key=rank)


def _problem(entries: Mapping[str, Entry], wanted: Mapping[str, tuple[int, ...]], prefix: str) -> str | None:
    missing = [key for key in wanted if prefix + key not in entries]
    if missing:
        return f"{len(missing)} of its {len(wanted)} tensors are missing, such as {missing[0]}"
    for key, shape in wanted.items():
        there = entries[prefix + key].shape
        if there != shape:
            return f"{prefix + key} is {_text(there)} in the file, and {_text(shape)} in the encoder"
    return None


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
