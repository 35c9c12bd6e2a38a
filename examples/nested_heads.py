"""Nested heads in the style of Franca (nested_heads_plain.py: before mixhead, nested_heads.py: with it).

Each head sees the first part of the features and has prototypes in proportion, so each has its own mixture.
"""

import copy

import torch
import torch.nn.functional as F
from cifar10 import Progress, arguments, batches
from dinov2 import DINOLoss
from lightly.utils.scheduler import cosine_schedule
from mixhead import Prototypes
from mixhead.worker.encoders import build_encoder
from torch import Tensor, nn

NESTED = {32: 256, 64: 512, 128: 1024}  # number of features: number of prototypes
args = arguments()


class NestedHead(nn.Module):
    """Features (N, 128) -> cosines, (N, K) for each part of the features."""

    def __init__(self) -> None:
        super().__init__()
        self.mlps, self.last_layers = nn.ModuleList(), nn.ModuleList()
        for width, prototypes in NESTED.items():
            self.mlps.append(nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, args.dim)))
            self.last_layers.append(Prototypes(args.dim, prototypes, name=f"of {width}", norm="batch"))

    @property
    def last_layer(self) -> nn.Module:
        return self.last_layers[-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        parts = [x[:, :width] for width in NESTED]
        embedded = [F.normalize(mlp(part), dim=-1) for mlp, part in zip(self.mlps, parts, strict=True)]
        return [layer(rows) for layer, rows in zip(self.last_layers, embedded, strict=True)]


student_backbone, student_head = build_encoder("conv-small")[0].to(args.device), NestedHead().to(args.device)
teacher_backbone, teacher_head = copy.deepcopy(student_backbone), copy.deepcopy(student_head)
teacher_backbone.requires_grad_(False)
teacher_head.requires_grad_(False)
dino_loss = DINOLoss()
parameters = [*student_backbone.parameters(), *student_head.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.04)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, args.steps + 1, pct_start=0.15)

progress = Progress(args)
for step, crops in enumerate(batches(args)):
    global_crops, local_crops = torch.cat(crops[:2]), torch.cat(crops[2:])
    nested_targets = teacher_head(teacher_backbone(global_crops))
    features = torch.cat([student_backbone(global_crops), student_backbone(local_crops)])
    loss = torch.zeros((), device=args.device)
    for logits, of_teacher in zip(student_head(features), nested_targets, strict=True):
        first, second = dino_loss.sinkhorn_knopp_teacher(of_teacher, teacher_temp=0.04).chunk(2)
        ours, theirs, *local = logits.chunk(4)
        pairs = dino_loss([ours], [second]) + dino_loss([theirs], [first]) + dino_loss(local, [first, second])
        loss += pairs / 6 / len(NESTED)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 3)
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()

    momentum = cosine_schedule(step, args.steps, 0.99, 1)
    averages = [*teacher_backbone.parameters(), *teacher_head.parameters()]
    with torch.no_grad():
        for parameter, average in zip(parameters, averages, strict=True):
            average.mul_(momentum).add_(parameter, alpha=1 - momentum)
    progress.step(loss)

student_head.eval()  # training is over: the mixture must not see the evaluation
progress.report(teacher_backbone, teacher_head)
