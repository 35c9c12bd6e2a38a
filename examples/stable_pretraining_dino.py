"""stable-pretraining's DINO on CIFAR-10, run by the package itself (pip install stable-pretraining).

stable_pretraining_dino_plain.py: before mixhead, stable_pretraining_dino.py: with it.
"""

import tempfile

import lightning
import stable_pretraining as spt
import torch
from cifar10 import Progress, arguments, batches
from mixhead import Prototypes
from mixhead.worker.encoders import build_encoder
from stable_pretraining.backbone import L2Norm
from stable_pretraining.forward import dino
from torch import Tensor, nn

args = arguments()


class Backbone(nn.Module):
    """Accepts the argument by which spt's forward function has a transformer interpolate its positions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.width = build_encoder("conv-small")

    def forward(self, images: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        return self.encoder(images)


class Views(torch.utils.data.IterableDataset):
    """One Lightning epoch is the whole run; the batches come ready-made."""

    def __iter__(self):
        names = ("global_1", "global_2", "local_1", "local_2")
        for views in batches(args):
            yield {"views": {name: {"image": view} for name, view in zip(names, views, strict=True)}}


backbone = Backbone()
projector = nn.Sequential(
    nn.Linear(backbone.width, 256),
    nn.GELU(),
    nn.Linear(256, 256),
    nn.GELU(),
    nn.Linear(256, args.dim),
    L2Norm(),
    Prototypes(args.dim, 1024, norm="batch"),
)
dino_loss = spt.losses.DINOv1Loss()
dino_loss.softmax_center_teacher = dino_loss.sinkhorn_knopp_teacher
module = spt.Module(
    forward=dino,
    backbone=spt.TeacherStudentWrapper(backbone, base_ema_coefficient=0.99),
    projector=spt.TeacherStudentWrapper(projector, base_ema_coefficient=0.99),
    dino_loss=dino_loss,
    temperature_teacher=0.04,
    optim={
        "optimizer": {"type": "AdamW", "lr": 3e-3, "weight_decay": 0.04},
        "scheduler": {
            "type": "OneCycleLR",
            "max_lr": 3e-3,
            "total_steps": args.steps + 1,
            "pct_start": 0.15,
        },
        "interval": "step",
    },
)


class Losses(lightning.Callback):
    progress = Progress(args)

    def on_train_batch_end(
        self, trainer: object, module: object, outputs: dict[str, Tensor], *_: object
    ) -> None:
        self.progress.step(outputs["loss"].detach())


trainer = lightning.Trainer(
    max_epochs=1,
    accelerator="gpu" if args.device == "cuda" else "cpu",
    devices=1,
    gradient_clip_val=3,
    callbacks=[Losses()],
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
loader = torch.utils.data.DataLoader(Views(), batch_size=None)
with tempfile.TemporaryDirectory() as folder:
    spt.set(cache_dir=folder)
    spt.Manager(trainer, module, spt.data.DataModule(train=loader), seed=args.seed)()
module.eval()  # training is over: the mixture must not see the evaluation
Losses.progress.report(module.backbone.teacher.encoder, module.projector.teacher)
