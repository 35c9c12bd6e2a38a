"""``python -m mixhead.worker.export CHECKPOINT FILE --config JSON``: writes a trained encoder.

The tensors have the names that timm or torchvision gives them. Standard output is one JSON object: Python
code that loads the file without mixhead, and the mean and standard deviation by which images are normalised.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mixhead.worker.config import Config, parse
from mixhead.worker.data import cifar10, fashion_mnist, folder
from mixhead.worker.encoders import build_encoder, timm_call
from mixhead.worker.errors import WorkerError
from mixhead.worker.weights import load_encoder

_STATISTICS = {"cifar10": cifar10, "cifar10-lt": cifar10, "fashion-mnist": fashion_mnist}

_CONV_SMALL = """\
from collections import OrderedDict
import torch
from torch import nn
{importing}
layers, width = [], 3
for channels, stride in ((16, 2), (32, 1), (64, 2), (128, 2)):
    layers += [nn.Conv2d(width, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    width = channels
encoder = nn.Sequential(
    OrderedDict(layers=nn.Sequential(*layers), mean=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
)
encoder.load_state_dict({reading})
encoder.eval()"""

_RESNET18_32 = """\
import torch
import torchvision
{importing}
encoder = torchvision.models.resnet18()
encoder.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
encoder.maxpool = encoder.fc = torch.nn.Identity()
encoder.load_state_dict({reading})
encoder.eval()"""

_TIMM = """\
import timm
encoder = timm.create_model({arguments}, checkpoint_path={path!r})
encoder.eval()"""


def export(checkpoint: Path, file: Path, config: Config) -> dict[str, object]:
    """Writes the teacher's encoder of a checkpoint to a file, atomically.

    Args:
        checkpoint: A checkpoint's folder.
        file: The file to write: .safetensors, or .pt or .pth for a state dict that torch.load reads.
        config: The run's configuration.

    Returns:
        The object that the command prints.

    Raises:
        WorkerError: If the checkpoint cannot be read, or the file cannot be written.
    """
    name = config.encoder.name
    encoder, features = build_encoder(name)
    load_encoder(encoder, checkpoint, name)
    tensors = {key: tensor.contiguous() for key, tensor in encoder.state_dict().items()}
    _write(file, tensors)
    statistics = _STATISTICS.get(config.data.name, folder)
    return {
        "encoder": name,
        "features": features,
        "tensors": len(tensors),
        "load": loading(name, file),
        "size": config.views.global_size,
        "mean": statistics.MEAN,
        "std": statistics.STD,
    }


def loading(name: str, file: Path) -> str:
    """Python code that loads the exported encoder of this name into ``encoder``, without mixhead."""
    path = str(file)
    if name not in ("conv-small", "resnet18-32"):
        model, options = timm_call(name)
        arguments = ", ".join([repr(model), *(f"{key}={value!r}" for key, value in options.items())])
        return _TIMM.format(arguments=arguments, path=path)
    template = _CONV_SMALL if name == "conv-small" else _RESNET18_32
    if file.suffix != ".safetensors":
        return template.replace("{importing}\n", "").format(reading=f"torch.load({path!r})")
    return template.format(
        importing="from safetensors.torch import load_file", reading=f"load_file({path!r})"
    )


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as private:
            temporary = Path(private) / file.name
            if file.suffix == ".safetensors":
                save_file(tensors, temporary, metadata={"format": "pt"})
            else:
                torch.save(tensors, temporary)
            os.replace(temporary, file)
    except OSError as error:
        raise WorkerError(f"{file} cannot be written: {error.strerror or error}") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mixhead.worker.export", description="Writes a trained encoder.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint's folder")
    parser.add_argument("file", type=Path, help="the .safetensors, .pt or .pth file to write")
    parser.add_argument("--config", required=True, help="the run's configuration as JSON")
    options = parser.parse_args(arguments)
    try:
        config = parse(Config, json.loads(options.config), "")
        print(json.dumps(export(options.checkpoint, options.file, config)))
    except (WorkerError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
