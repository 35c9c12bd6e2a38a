"""Starts a mixture from the result of `mixhead fit`."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.safetensors_file import read_safetensors
from mixhead.dropin.registry import mixture
from mixhead.dropin.state import State


def start_from(folder: str | os.PathLike[str], name: str = "default") -> None:
    """Starts a mixture from one that `npx mixhead fit ... --out FOLDER` has fitted.

    The mixture starts with the fitted prototypes, counts, sums and variances, at step 0 of its schedules.
    Call this in every rank, after creating the heads. Give `mixhead.attach` the same plugin settings as
    `fit`: otherwise the plugin rejects the state at the first use.

    Args:
        folder: The folder that `fit` has written.
        name: The mixture.

    Raises:
        FileNotFoundError: If the folder lacks a file.
        ValueError: If a file cannot be read, if the heads have another size, or if there are no heads yet.
    """
    prototypes = _read(Path(folder) / "mixture.safetensors")["prototypes"]
    components, dim = prototypes.shape
    state = _read(Path(folder) / "state.safetensors")
    here = mixture(name)
    if not here.heads:
        raise ValueError(f'start_from: mixture "{name}" has no heads yet: create them first')
    if (components, dim) != here.size:
        raise ValueError(
            f"start_from: {folder} holds {components} prototypes of dimension {dim}, "
            f'the heads of mixture "{name}" have {here.size[0]} of {here.size[1]}'
        )
    here.load(prototypes, State(0, {key: tensor.numpy() for key, tensor in state.items()}))


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(
            f"start_from: {file} does not exist: give the folder that `npx mixhead fit --out FOLDER` wrote"
        )
    try:
        return {name: entry.read() for name, entry in read_safetensors(file).items()}
    except CheckpointError as error:
        raise ValueError(f"start_from: {error}") from error
