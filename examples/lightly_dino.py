"""lightly's DINO recipe on CIFAR-10 (lightly_dino_plain.py: before mixhead, lightly_dino.py: with it)."""

import copy

import torch
from cifar10 import Progress, arguments, batches
from lightly.loss import DINOLoss
from mixhead.lightly import DINOProjectionHead, SinkhornDINOLoss
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.utils.scheduler import cosine_schedule
from mixhead.worker.encoders import build_encoder

args = arguments()
SIZES = 128, 256, args.dim, 1024  # features, hidden, embedding, prototypes


def head() -> torch.nn.Module:
    return DINOProjectionHead(*SIZES, freeze_last_layer=1, prototypes=args.prototypes, norm=args.norm)


student_backbone = build_encoder("conv-small")[0].to(args.device)
student_head = head().to(args.device)
teacher_backbone, teacher_head = copy.deepcopy(student_backbone), head().to(args.device)
deactivate_requires_grad(teacher_backbone)
deactivate_requires_grad(teacher_head)

criterion = (SinkhornDINOLoss if args.loss == "sinkhorn" else DINOLoss)(output_dim=SIZES[-1])
criterion.to(args.device)
parameters = [*student_backbone.parameters(), *student_head.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.04)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, args.steps + 1, pct_start=0.15)

progress = Progress(args)
for step, views in enumerate(batches(args)):
    epoch = step // 50
    momentum = cosine_schedule(step, args.steps, 0.99, 1)
    update_momentum(student_backbone, teacher_backbone, m=momentum)
    update_momentum(student_head, teacher_head, m=momentum)
    teacher_out = [teacher_head(teacher_backbone(view)) for view in views[:2]]
    student_out = [student_head(student_backbone(view)) for view in views]
    loss = criterion(teacher_out, student_out, epoch=epoch)
    loss.backward()
    student_head.cancel_last_layer_gradients(epoch)
    torch.nn.utils.clip_grad_norm_(parameters, 3)
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()
    progress.step(loss)

student_head.eval()  # training is over: the mixture must not see the evaluation
progress.report(teacher_backbone, teacher_head)
