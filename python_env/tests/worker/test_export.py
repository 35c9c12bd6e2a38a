from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mixhead.worker.encoders import build_encoder
from mixhead.worker.export import main
from tests.worker.runs import raw_config


def checkpoint(folder: Path, name: str) -> torch.nn.Module:
    """A checkpoint's folder with an encoder whose batch norms have seen images; gives that encoder."""
    encoder, _ = build_encoder(name)
    for _ in range(2):
        encoder(torch.randn(4, 3, 32, 32))
    folder.mkdir()
    save_file(
        {key: t.contiguous() for key, t in encoder.state_dict().items()}, folder / "encoder.safetensors"
    )
    return encoder.eval()


# The lines that export prints, then features of images without mixhead, which must not even be there.
ELSEWHERE = """
import sys
sys.modules["mixhead"] = None
exec({lines!r})
import torch
with torch.no_grad():
    torch.save(encoder(torch.load({images!r})), {out!r})
"""


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("conv-small", "pt"),
        ("resnet18-32", "safetensors"),
        ("resnet18-32", "pth"),
        ("vit-tiny-32", "safetensors"),
        ("resnet10t", "pth"),
    ],
)
def test_the_printed_lines_load_the_same_features_without_mixhead(
    name: str, ending: str, tmp_path: Path, capsys
):
    encoder = checkpoint(tmp_path / "step-1", name)
    file = tmp_path / "out" / f"encoder.{ending}"
    config = json.dumps(raw_config(encoder={"name": name}))
    assert main([str(tmp_path / "step-1"), str(file), "--config", config]) == 0
    answer = json.loads(capsys.readouterr().out)
    images = torch.randn(3, 3, 32, 32)
    torch.save(images, tmp_path / "images.pt")
    script = ELSEWHERE.format(
        lines=answer["load"], images=str(tmp_path / "images.pt"), out=str(tmp_path / "features.pt")
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with torch.no_grad():
        expected = encoder(images)
    assert expected.shape == (3, answer["features"])
    torch.testing.assert_close(torch.load(tmp_path / "features.pt"), expected, rtol=1e-5, atol=1e-6)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_cannot_be_exported_is_one_sentence_and_writes_nothing(tmp_path: Path, capsys):
    checkpoint(tmp_path / "step-1", "conv-small")
    other = json.dumps(raw_config(encoder={"name": "resnet18-32"}))
    assert main([str(tmp_path / "step-1"), str(tmp_path / "a.pt"), "--config", other]) == 2
    assert "does not hold the encoder resnet18-32" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    config = json.dumps(raw_config())
    assert main([str(tmp_path / "step-1"), str(tmp_path / "file" / "a.pt"), "--config", config]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "a.pt").exists()
