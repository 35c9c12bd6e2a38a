"""DINO as in facebookresearch/dino (meta_dino_plain.py: before mixhead, meta_dino.py: with it)."""

import copy
import math

import torch
from cifar10 import Progress, arguments, batches
from meta import DINOLoss, MultiCropWrapper
from mixhead.dino import DINOHead, SinkhornDINOLoss
from mixhead.worker.encoders import build_encoder

args = arguments()
backbone, width = build_encoder("conv-small")
sizes = {"in_dim": width, "out_dim": 1024, "hidden_dim": 256, "bottleneck_dim": args.dim}
student = MultiCropWrapper(backbone, DINOHead(**sizes, prototypes=args.prototypes, norm=args.norm))
student.to(args.device)
teacher = copy.deepcopy(student)
for parameter in teacher.parameters():
    parameter.requires_grad = False

settings = {"out_dim": 1024, "ncrops": 4, "nepochs": args.steps // 50 + 1}
settings |= {"warmup_teacher_temp": 0.04, "teacher_temp": 0.04, "warmup_teacher_temp_epochs": 0}
criterion = (SinkhornDINOLoss if args.loss == "sinkhorn" else DINOLoss)(**settings)
criterion.to(args.device)
optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3, weight_decay=0.04)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, args.steps + 1, pct_start=0.15)

progress = Progress(args)
for step, crops in enumerate(batches(args)):
    teacher_output = teacher(crops[:2])  # only the 2 global crops pass through the teacher
    student_output = student(crops)
    epoch = step // 50
    loss = criterion(student_output, teacher_output, epoch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 3)
    if epoch < 1:  # the last layer stays fixed during the first epoch
        for name, parameter in student.named_parameters():
            if "last_layer" in name:
                parameter.grad = None
    optimizer.step()
    schedule.step()
    momentum = 1 - 0.01 * (1 + math.cos(math.pi * step / args.steps)) / 2
    with torch.no_grad():
        for ours, theirs in zip(student.parameters(), teacher.parameters(), strict=True):
            theirs.mul_(momentum).add_(ours, alpha=1 - momentum)
    progress.step(loss)

student.eval()  # training is over: the mixture must not see the evaluation
progress.report(teacher.backbone, teacher.head)
