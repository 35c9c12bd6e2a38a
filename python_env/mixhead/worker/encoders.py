"""Encoders by name: three small ones for 32 x 32 images, and all of timm's."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import TypedDict

import torch
from torch import Tensor, nn

from mixhead.worker.errors import WorkerError


class ConvSmall(nn.Module):
    """Four 3 x 3 convolutions with batch norm and ReLU, then the mean over space: images -> (N, 128)."""

    features = 128

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in zip((16, 32, 64, 128), (2, 1, 2, 2), strict=True):
            layers += [
                nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        # With channels last in memory, this mean's backward pass is nine times as fast as that of a mean over
        # dims (2, 3).
        maps: Tensor = self.layers(images)
        return maps.flatten(2).transpose(1, 2).mean(dim=1)


def _conv_small() -> tuple[nn.Module, int]:
    return ConvSmall(), ConvSmall.features


def _resnet18_32() -> tuple[nn.Module, int]:
    from torchvision.models import resnet18

    module = resnet18()
    module.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    module.maxpool = nn.Identity()
    features = module.fc.in_features
    module.fc = nn.Identity()
    return module, features


def _timm(name: str) -> tuple[nn.Module, int]:
    import timm

    model, options = timm_call(name)
    module = timm.create_model(model, **options)
    width = module.num_features
    assert isinstance(width, int)
    return module, width


class TimmOptions(TypedDict, total=False):
    """Options of timm.create_model."""

    num_classes: int
    img_size: int
    patch_size: int
    dynamic_img_size: bool


def timm_call(name: str) -> tuple[str, TimmOptions]:
    """The model and options for timm.create_model, for any of timm's encoders and for vit-tiny-32.

    Raises WorkerError if timm has no such encoder.
    """
    import timm

    options: TimmOptions = {"num_classes": 0}
    model = name
    if name == "vit-tiny-32":
        model, options = "vit_tiny_patch16_224", {**options, "img_size": 32, "patch_size": 4}
    if not timm.is_model(model):
        raise WorkerError(_unknown(name, timm.list_models()))
    with torch.device("meta"):
        probe = timm.create_model(model, num_classes=0)
    # Local crops are smaller than global ones, so position embeddings must adapt to the image's size.
    if "dynamic_img_size" in inspect.signature(type(probe)).parameters:
        options["dynamic_img_size"] = True
    return model, options


_OWN: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "conv-small": _conv_small,
    "resnet18-32": _resnet18_32,
    "vit-tiny-32": lambda: _timm("vit-tiny-32"),
}


def build_encoder(name: str) -> tuple[nn.Module, int]:
    """Builds an untrained encoder: images (N, 3, H, W) -> features (N, width). Returns it and its width.

    Its weights come from torch's global generator: seed it first. Raises WorkerError for an unknown name.
    """
    return _OWN[name]() if name in _OWN else _timm(name)


def check_sizes(encoder: nn.Module, sizes: set[int]) -> None:
    """Raises WorkerError if the encoder does not accept square images of one of these sizes, in pixels."""
    training = encoder.training
    encoder.eval()
    for size in sorted(sizes):
        try:
            with torch.no_grad():
                encoder(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WorkerError(f"the encoder does not accept images of {size} x {size}: {reason}") from error
    encoder.train(training)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, [*_OWN, *known], n=4)
    others = ", ".join(near) if near else ", ".join(_OWN)
    return f'encoder.name: there is no encoder "{name}"; the nearest names are {others}'
