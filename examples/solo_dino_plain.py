"""DINO as in solo-learn, on CIFAR-10 (solo_dino_plain.py: before mixhead, solo_dino.py: with it).

The student goes first, crop by crop, then the momentum networks.
"""

import math
from functools import partial

import pytorch_lightning as lightning
import solo_head
import torch
from cifar10 import Progress, arguments, batches
from mixhead.worker.encoders import build_encoder
from torch import Tensor

args = arguments()


class DINO(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, width = build_encoder("conv-small")
        self.momentum_backbone, _ = build_encoder("conv-small")
        sizes = {"in_dim": width, "num_prototypes": 1024, "hidden_dim": 256, "bottleneck_dim": args.dim}
        head = partial(solo_head.DINOHead, **sizes)
        self.head, self.momentum_head = head(), head()
        for ours, theirs in self.momentum_pairs():
            theirs.load_state_dict(ours.state_dict())
            for parameter in theirs.parameters():
                parameter.requires_grad = False
        settings = {"num_prototypes": 1024, "num_epochs": args.steps // 50 + 1}
        settings |= {"warmup_teacher_temp": 0.04, "teacher_temp": 0.04, "warmup_teacher_temp_epochs": 0}
        self.dino_loss_func = solo_head.DINOLoss(**settings)
        self.progress = Progress(args)

    def momentum_pairs(self) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
        return [(self.backbone, self.momentum_backbone), (self.head, self.momentum_head)]

    def training_step(self, crops: list[Tensor], index: int) -> Tensor:
        large = crops[:2]
        p = [self.head(self.backbone(crop)) for crop in large]
        with torch.no_grad():
            momentum_p = [self.momentum_head(self.momentum_backbone(crop)) for crop in large]
        self.dino_loss_func.epoch = index // 50
        loss = self.dino_loss_func(torch.cat(p), torch.cat(momentum_p))
        self.progress.step(loss.detach())
        return loss

    def on_after_backward(self) -> None:
        if self.global_step < 50:  # the prototypes stay fixed during the first epoch
            for parameter in self.head.last_layer.parameters():
                parameter.grad = None

    def on_train_batch_end(self, outputs: object, batch: list[Tensor], index: int) -> None:
        tau = 1 - 0.01 * (1 + math.cos(math.pi * index / args.steps)) / 2
        for ours, theirs in self.momentum_pairs():
            for parameter, average in zip(ours.parameters(), theirs.parameters(), strict=True):
                average.data = tau * average.data + (1 - tau) * parameter.data

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.04)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, args.steps + 1, pct_start=0.15)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Crops(torch.utils.data.IterableDataset):
    """One Lightning epoch is the whole run; the batches come ready-made."""

    def __iter__(self):
        return batches(args)


model = DINO()
trainer = lightning.Trainer(
    max_epochs=1,
    accelerator="gpu" if args.device == "cuda" else "cpu",
    devices=1,
    gradient_clip_val=3,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, torch.utils.data.DataLoader(Crops(), batch_size=None))
model.eval()  # training is over: the mixture must not see the evaluation
model.progress.report(model.momentum_backbone, model.momentum_head)
