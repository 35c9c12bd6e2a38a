"""What is no checkpoint is called by its name, in one sentence, with exit status 2."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from mixhead.checkpoint.__main__ import main
from tests.checkpoint.files import rows, saved


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("checkpoint.pth"))
    return stream.getvalue()


def archive(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(name, b"")
    return stream.getvalue()


def array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows().numpy())
    return stream.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"
KINDS = {
    "a pointer": (POINTER, "is a Git LFS pointer, not the file itself: run git lfs pull"),
    "a page": (b"\n<!DOCTYPE html>\n<html><body>Not Found</body></html>", "is a web page, not a checkpoint"),
    "an answer of a bucket": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "is a web page",
    ),
    "nothing": (b"", "is empty"),
    "text": (b'{"error": "Invalid username or password."}', "is a text file, not a checkpoint"),
    "gzip": (gzip.compress(b"x"), "is compressed by gzip: unpack it first"),
    "tar": (tar(), "is a tar archive: unpack it first"),
    "zip": (archive("readme.md"), "is a zip archive, but not one of torch.save"),
    "npy": (array(), "is a NumPy array; call it .npy"),
    "zeros": (bytes(2000), "is not a"),
    "noise": (bytes(range(1, 256)) * 9, "is not a"),
}


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence about the file."""
    assert main([str(path), "--out", str(path.parent / "out.npy")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(path) in message
    assert not (path.parent / "out.npy").exists()
    return message


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize(("content", "words"), KINDS.values(), ids=KINDS.keys())
def test_a_file_that_is_no_checkpoint_is_recognised_by_its_content(
    tmp_path: Path, name: str, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in refused(tmp_path / name, capsys)


@pytest.mark.parametrize("format", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_short_is_one_sentence(
    tmp_path: Path, format: str, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"last_layer.weight": torch.ones(100, 100)}
    path = saved(tmp_path, content, _use_new_zipfile_serialization=format == "zip")
    whole = save(content) if format == "safetensors" else path.read_bytes()
    path = path.with_suffix(".safetensors") if format == "safetensors" else path
    path.write_bytes(whole[: int(share * len(whole))])
    assert "is cut short" in refused(path, capsys)


def test_a_torch_zip_with_the_wrong_name_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, {"last_layer.weight": rows()}, "x.safetensors")
    assert main([str(path), "--out", str(tmp_path / "out.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "out.npy"), rows().numpy())


def test_a_missing_or_unreadable_file_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such file" in refused(tmp_path / "missing.pt", capsys)
    assert "no such file" in refused(tmp_path / "nowhere" / "x.pt", capsys)
