"""Recognises files that are not checkpoints by their first bytes."""

from __future__ import annotations

from pathlib import Path

from mixhead.checkpoint.errors import CheckpointError

BEGINNINGS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself: run git lfs pull",
    b"\x1f\x8b": "is compressed by gzip: unpack it first",
    b"BZh": "is compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "is compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd: unpack it first",
    b"7z\xbc\xaf": "is a 7z archive: unpack it first",
    b"\x89HDF": "is an HDF5 file; prototypes are read from .npy, .safetensors and PyTorch's files",
    b"\x93NUMPY": "is a NumPy array; call it .npy",
}
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<error")
TAR_MAGIC = b"ustar"
TAR_MAGIC_AT = 257


def refuse_others(path: Path) -> None:
    """Raises CheckpointError with the kind of file if it is certainly not a checkpoint."""
    with path.open("rb") as file:
        start = file.read(1024)
    if not start:
        raise CheckpointError(f"{path} is empty")
    for beginning, words in BEGINNINGS.items():
        if start.startswith(beginning):
            raise CheckpointError(f"{path} {words}")
    if start[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
        raise CheckpointError(f"{path} is a tar archive: unpack it first")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        raise CheckpointError(f"{path} is a web page, not a checkpoint: download the file itself")
    if is_text(start):
        raise CheckpointError(f"{path} is a text file, not a checkpoint")


def is_text(start: bytes) -> bool:
    """Whether all bytes are printable, as they never are at the start of torch.save or safetensors files."""
    return all((byte >= 32 and byte != 127) or byte in b"\t\r\n\f" for byte in start)
