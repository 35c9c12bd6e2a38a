from pathlib import Path

from mixhead.checkpoint.dcp import read_dcp
from mixhead.checkpoint.entry import Entry
from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.kind import refuse_others
from mixhead.checkpoint.safetensors_file import read_safetensors
from mixhead.checkpoint.torch_file import is_zip, read_torch


def read_entries(path: Path) -> dict[str, Entry]:
    """Reads the tensors of a checkpoint by name: a file of torch.save or safetensors, or a DCP folder.

    Detects the format by the content, and runs nothing in it. Raises CheckpointError.
    """
    if not (path.is_file() or path.is_dir()):
        raise CheckpointError(f"cannot read {path}: no such file")
    try:
        if path.is_dir():
            return read_dcp(path)
        refuse_others(path)
        file = path.open("rb")  # stays open: entries read from it on demand
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if path.suffix == ".safetensors" and not is_zip(file):
        file.close()
        return read_safetensors(path)
    return read_torch(file, path)
