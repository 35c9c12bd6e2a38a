"""A mixture that begins where `mixhead fit` ended."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.safetensors_file import read_safetensors
from mixhead.dropin.connection import State
from mixhead.dropin.registry import mixture


def start_from(folder: str | os.PathLike[str], name: str = "default") -> None:
    """Starts mixture `name` from the mixture that `npx mixhead fit ... --out FOLDER` has fitted.

    It begins with all that was estimated (prototypes, counts, sums, variances) at step 0 of its schedules.
    Call it once the heads are made, in every rank. Give `mixhead.attach` the plugin settings that `fit` had.

    Raises FileNotFoundError if the folder lacks a file, ValueError if the mixture does not fit the heads or
    if there are none yet. The plugin refuses the state of other settings at the first use, with Rejected.
    """
    prototypes = _read(Path(folder) / "mixture.safetensors")["prototypes"]
    components, dim = prototypes.shape
    state = _read(Path(folder) / "state.safetensors")
    here = mixture(name)
    if not here.heads:
        raise ValueError(f'start_from: mixture "{name}" has no heads yet: make them first')
    if (components, dim) != (here.components, here.dim):
        raise ValueError(
            f"start_from: {folder} holds {components} prototypes of dimension {dim}, "
            f'the heads of mixture "{name}" have {here.components} of {here.dim}'
        )
    here.load(prototypes, State(0, {key: tensor.numpy() for key, tensor in state.items()}))


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(
            f"start_from: there is no {file}: give the folder that `npx mixhead fit --out FOLDER` has written"
        )
    try:
        return {name: entry.read() for name, entry in read_safetensors(file).items()}
    except CheckpointError as error:
        raise ValueError(f"start_from: {error}") from error
