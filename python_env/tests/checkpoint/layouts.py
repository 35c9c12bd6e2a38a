"""Checkpoints in the layouts that projects publish or save, small: what docs/checkpoints.md is about.

Layers are real ones of PyTorch under each project's names. ``python -m tests.checkpoint.layouts FOLDER``
writes them all.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from omegaconf import OmegaConf
from torch import Tensor, nn

K, D = 64, 16
State = dict[str, Tensor]


def linear(prefix: str, rows: int = K) -> State:
    layer = nn.Linear(D, rows, bias=False)
    return {f"{prefix}.{name}": tensor for name, tensor in layer.state_dict().items()}


def normed(prefix: str, rows: int = K) -> State:
    """By nn.utils.weight_norm, as DINO's first heads have it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Linear(D, rows, bias=False))
    return {f"{prefix}.{name}": tensor.detach() for name, tensor in layer.state_dict().items()}


def parametrized(prefix: str) -> State:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(D, K, bias=False))
    return {f"{prefix}.{name}": tensor for name, tensor in layer.state_dict().items()}


def backbone(prefix: str) -> State:
    layers = {f"blocks.{n}": nn.TransformerEncoderLayer(2 * D, 2, 4 * D, batch_first=True) for n in range(2)}
    return {
        f"{prefix}.{block}.{name}": tensor
        for block, layer in layers.items()
        for name, tensor in layer.state_dict().items()
    }


def mlp(prefix: str) -> State:
    layers = nn.Sequential(nn.Linear(2 * D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))
    return {f"{prefix}.{name}": tensor for name, tensor in layers.state_dict().items()}


def projector(prefix: str) -> State:
    layers = nn.Sequential(
        nn.Linear(2 * D, 4 * D),
        nn.GELU(),
        nn.Linear(4 * D, 4 * D),
        nn.GELU(),
        nn.Linear(4 * D, D),
        nn.Identity(),  # an L2 norm, without tensors
        nn.Linear(D, K, bias=False),
    )
    return {f"{prefix}.{name}": tensor for name, tensor in layers.state_dict().items()}


def saved(name: str, content: Callable[[], object]) -> tuple[str, Callable[[Path], None]]:
    def write(path: Path) -> None:
        torch.save(content(), path)

    return name, write


def folder(name: str, content: Callable[[], dict[str, object]]) -> tuple[str, Callable[[Path], None]]:
    def write(path: Path) -> None:
        dcp.save(content(), checkpoint_id=path, no_dist=True)

    return name, write


ARGUMENTS = argparse.Namespace(arch="vit_small", out_dim=K)
CONFIG = OmegaConf.create({"method_kwargs": {"num_prototypes": K}})


def owned(owners: tuple[str, ...], *parts: Callable[[str], State]) -> State:
    return {name: tensor for owner in owners for part in parts for name, tensor in part(owner).items()}


def dino(head: Callable[[str], State]) -> dict[str, object]:
    """Meta's DINO, iBOT and CARP: the student in DDP, the teacher without."""
    return {
        "student": {**backbone("module.backbone"), **mlp("module.head.mlp"), **head("module.head")},
        "teacher": {**backbone("backbone"), **mlp("head.mlp"), **head("head")},
        "epoch": 100,
        "args": ARGUMENTS,
    }


def dinov2_head(prefix: str) -> State:
    return {**mlp(f"{prefix}.mlp"), **normed(f"{prefix}.last_layer")}


LAYOUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "DINO": saved("checkpoint.pth", lambda: dino(lambda head: normed(f"{head}.last_layer"))),
    "DINO, backbone": saved("dino_deitsmall16_pretrain.pth", lambda: backbone("backbone")),
    "iBOT": saved(
        "checkpoint_teacher.pth",
        lambda: dino(lambda head: {**normed(f"{head}.last_layer"), **normed(f"{head}.last_layer2", 32)}),
    ),
    "CARP": saved("checkpoint0199.pth", lambda: dino(lambda head: normed(f"{head}.last_layer"))),
    "DINOv2, a rank": saved(
        "model_0124999.rank_0.pth",
        lambda: {
            "model": {
                f"{owner}.{part}._fsdp_wrapped_module._flat_param": torch.ones(999)
                for owner in ("student", "teacher")
                for part in ("backbone", "dino_head")
            },
            "iteration": 124999,
        },
    ),
    "DINOv2, teacher": saved(
        "teacher_checkpoint.pth",
        lambda: {"teacher": {**backbone("backbone"), **dinov2_head("dino_head"), **dinov2_head("ibot_head")}},
    ),
    "DINOv3": folder(
        "ckpt/199",
        lambda: {
            "iteration": 199,
            "model": owned(
                ("student", "model_ema"),
                lambda owner: backbone(f"{owner}.backbone"),
                lambda owner: linear(f"{owner}.dino_head.last_layer"),
                lambda owner: linear(f"{owner}.ibot_head.last_layer", 32),
            ),
        },
    ),
    "Franca": saved(
        "franca_teacher.pth",
        lambda: {
            "teacher": {
                name: tensor
                for head in ("dino_head", "ibot_head")
                for n, rows in enumerate((16, 32, K))
                for name, tensor in normed(f"{head}.last_layers.{n}", rows).items()
            }
        },
    ),
    "lightly": saved(
        "epoch=99.ckpt",
        lambda: {
            "state_dict": owned(("student", "teacher"), lambda owner: normed(f"{owner}_head.last_layer")),
            "hyper_parameters": {"path": Path("data")},
        },
    ),
    "lightly-train": saved(
        "last.ckpt",
        lambda: {
            "state_dict": owned(
                ("teacher", "student"), lambda owner: normed(f"{owner}_projection_head.last_layer")
            )
        },
    ),
    "stable-pretraining": saved(
        "last.ckpt",
        lambda: {
            "state_dict": {
                **backbone("backbone.student"),
                **backbone("backbone.teacher"),
                **projector("projector.student"),
                **projector("projector.teacher"),
            }
        },
    ),
    "solo-learn": saved(
        "dino-cifar10-ep=999.ckpt",
        lambda: {
            "state_dict": {**normed("head.last_layer"), **normed("momentum_head.last_layer")},
            "hyper_parameters": CONFIG,
        },
    ),
    "SwAV": saved(
        "checkpoint.pth.tar",
        lambda: {"epoch": 400, "state_dict": {**backbone("module"), **linear("module.prototypes")}},
    ),
    "MSN": saved(
        "vits16_800ep.pth.tar",
        lambda: {
            "encoder": mlp("module.fc"),
            "target_encoder": mlp("module.fc"),
            "prototypes": nn.Parameter(torch.randn(K, D)),
        },
    ),
    "CAPI, a rank": saved(
        "model.0009999.rank_000.pth",
        lambda: {
            "model": {"teacher.head.module.layer.parametrizations.weight.original": torch.ones(K // 8, D)}
        },
    ),
    "CAPI, teacher": saved(
        "teacher_checkpoint.pth", lambda: {**backbone("backbone"), **linear("head.layer")}
    ),
    "birder": saved(
        "dino_v1_vit_s16_100.pt",
        lambda: {
            "state": owned(
                ("student", "teacher"),
                lambda owner: backbone(f"{owner}.backbone"),
                lambda owner: parametrized(f"{owner}.head.last_layer"),
            ),
            "task": "ssl",
        },
    ),
}


def write(project: str, parent: Path) -> Path:
    """Writes a checkpoint in the project's layout into a folder of its own under ``parent``."""
    name, writer = LAYOUTS[project]
    path = parent / project.replace(", ", "-").replace(" ", "-") / name
    path.parent.mkdir(parents=True)
    writer(path)
    return path


if __name__ == "__main__":
    for each in LAYOUTS:
        print(write(each, Path(sys.argv[1])))
