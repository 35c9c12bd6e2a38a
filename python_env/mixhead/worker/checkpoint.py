"""A rank's half of a checkpoint: files in one folder, which the plugin moves into its own.

encoder.safetensors   the teacher's encoder, which is evaluated and exported
head.safetensors      the teacher's head
student.safetensors   the student: encoder and head
training.pt           optimizer, gradient scaler, centre, balance, online probe, step: only to resume training
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mixhead.worker.errors import WorkerError, WriteFailed
from mixhead.worker.network import Network
from mixhead.worker.state import State
from mixhead.worker.step import measured

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def save(state: State, checkpoint_dir: str | Path) -> Path:
    """Writes the state to ``checkpoint_dir/incoming-STEPS``, flushes it to disk, and returns the folder.

    Raises:
        WriteFailed: If a file cannot be written. Then the folder is removed.
    """
    folder = Path(checkpoint_dir).resolve() / f"incoming-{state.step}"
    shutil.rmtree(folder, ignore_errors=True)
    with _written(folder):
        folder.mkdir(parents=True)
    try:
        _save_weights(state.teacher.encoder, folder / "encoder.safetensors")
        _save_weights(state.teacher.head, folder / "head.safetensors")
        _save_weights(state.student, folder / "student.safetensors")
        _save_training(state, folder / "training.pt")
        for path in [*folder.iterdir(), folder]:
            with _written(path):
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
    except WriteFailed:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _save_training(state: State, path: Path) -> None:
    training = {
        "step": state.step,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "center": state.center.value,
        "sinkhorn": state.sinkhorn.state_dict(),
        "online": state.online and state.online.state_dict(),
        "measured": measured(state),
    }
    with _written(path), open(path, "wb") as file:  # given a path, torch would not report the reason
        torch.save(training, file)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raises WriteFailed if `path` cannot be written inside."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WriteFailed(f"cannot write {path}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The system's reason. torch and safetensors put it into the message or into the cause of their error."""
    each: BaseException | None = error
    while each is not None:
        number = _OS_ERROR.search(str(each))
        if number is not None:
            return os.strerror(int(number[1]))
        if isinstance(each, OSError) and each.errno:
            return os.strerror(each.errno)
        each = each.__cause__ or each.__context__
    return str(error).splitlines()[0]


def restore(state: State, folder: str | Path) -> None:
    """Restores what ``save`` wrote. The mirror comes from the plugin instead.

    If the checkpoint has no online probe, as those of earlier versions, the probe starts anew.

    Raises:
        WorkerError: If a file is missing, damaged, or belongs to another network.
    """
    folder = Path(folder)
    load_teacher(state.teacher, folder)
    with _readable(folder):
        state.student.load_state_dict(load_file(folder / "student.safetensors"))
        training = torch.load(folder / "training.pt", map_location=state.device, weights_only=True)
        state.optimizer.load_state_dict(training["optimizer"])
        state.scaler.load_state_dict(training["scaler"])
        state.center.value = training["center"]
        state.sinkhorn.load_state_dict(training.get("sinkhorn", {}))
        if state.online is not None and training.get("online") is not None:
            state.online.load_state_dict(training["online"])
        state.step = training["step"]
        state.measured = training["measured"]


def load_teacher(network: Network, folder: str | Path) -> None:
    """Loads a checkpoint's teacher into a network of the same configuration. Raises WorkerError."""
    with _readable(Path(folder)):
        network.encoder.load_state_dict(load_file(Path(folder) / "encoder.safetensors"))
        network.head.load_state_dict(load_file(Path(folder) / "head.safetensors"))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turns any error about the files of a checkpoint into a WorkerError with one sentence."""
    try:
        yield
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, LookupError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WorkerError(
            f"the checkpoint {folder} is incomplete, or belongs to another configuration: {reason}"
        ) from error


def _save_weights(module: nn.Module, path: Path) -> None:
    with _written(path):
        save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
