"""DINO as a Lightning module (lightning_dino_plain.py: before mixhead, lightning_dino.py: with it)."""

import copy

import pytorch_lightning as lightning
import torch
from cifar10 import Progress, arguments, batches
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.utils.scheduler import cosine_schedule
from mixhead.worker.encoders import build_encoder

args = arguments()
SIZES = 128, 256, args.dim, 1024  # features, hidden, embedding, prototypes


def head() -> torch.nn.Module:
    return DINOProjectionHead(*SIZES, freeze_last_layer=1)


class DINO(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.student_backbone, _ = build_encoder("conv-small")
        self.student_head = head()
        self.teacher_backbone = copy.deepcopy(self.student_backbone)
        self.teacher_head = head()
        deactivate_requires_grad(self.teacher_backbone)
        deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=SIZES[-1])
        self.progress = Progress(args)

    def training_step(self, views: list[torch.Tensor], index: int) -> torch.Tensor:
        momentum = cosine_schedule(index, args.steps, 0.99, 1)
        update_momentum(self.student_backbone, self.teacher_backbone, m=momentum)
        update_momentum(self.student_head, self.teacher_head, m=momentum)
        teacher_out = [self.teacher_head(self.teacher_backbone(view)) for view in views[:2]]
        student_out = [self.student_head(self.student_backbone(view)) for view in views]
        loss = self.criterion(teacher_out, student_out, epoch=index // 50)
        self.progress.step(loss.detach())
        return loss

    def on_after_backward(self) -> None:
        self.student_head.cancel_last_layer_gradients(self.global_step // 50)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.04)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, args.steps + 1, pct_start=0.15)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Views(torch.utils.data.IterableDataset):
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
trainer.fit(model, torch.utils.data.DataLoader(Views(), batch_size=None))
model.eval()  # training is over: the mixture must not see the evaluation
model.progress.report(model.teacher_backbone, model.teacher_head)
