"""DINOv2's recipe on CIFAR-10 (dinov2_style_plain.py: before mixhead, dinov2_style.py: with it).

Class tokens and patches each have their own head, and so their own mixture.
"""

import random
from functools import partial

import torch
from cifar10 import Progress, arguments, batches
from dinov2 import WIDTH, Backbone, DINOLoss, IBOTPatchLoss, draw_masks, padded
from lightly.utils.scheduler import cosine_schedule
from meta_head import DINOHead
from torch import nn

args = arguments()
random.seed(args.seed)
head = partial(DINOHead, in_dim=WIDTH, hidden_dim=256, bottleneck_dim=args.dim)
dino_head = partial(head, out_dim=1024)
ibot_head = partial(head, out_dim=512)
UPPERBOUND = 2 * args.batch * 64 // 4  # half of the images are masked, at most half of their patches


def network() -> nn.ModuleDict:
    parts = {"backbone": Backbone(), "dino_head": dino_head(), "ibot_head": ibot_head()}
    return nn.ModuleDict(parts).to(args.device)


student, teacher = network(), network()
for name in student:
    teacher[name].load_state_dict(student[name].state_dict())
for parameter in teacher.parameters():
    parameter.requires_grad = False
dino_loss, ibot_patch_loss = DINOLoss(), IBOTPatchLoss()
optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=0.04)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, args.steps + 1, pct_start=0.15)


@torch.no_grad()
def targets(images: torch.Tensor, masks: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Targets of the two global crops, each made from the other one, and of the masked patches."""
    classes, patches = teacher["backbone"].masked(images, masks, hide=False)
    first, second = classes.chunk(2)
    class_logits = teacher["dino_head"](torch.cat([second, first]))
    patch_logits = teacher["ibot_head"](padded(patches, UPPERBOUND))
    of_classes = dino_loss.sinkhorn_knopp_teacher(class_logits, teacher_temp=0.04)
    of_patches = ibot_patch_loss.sinkhorn_knopp_teacher(patch_logits, 0.04, len(patches))
    return list(of_classes.chunk(2)), of_patches


progress = Progress(args)
student.train()
teacher.eval()
for step, crops in enumerate(batches(args)):
    global_crops, local_crops = torch.cat(crops[:2]), torch.cat(crops[2:])
    masks = draw_masks(len(global_crops)).to(args.device)
    class_targets, patch_targets = targets(global_crops, masks)

    classes, patches = student["backbone"].masked(global_crops, masks, hide=True)
    local_classes = student["backbone"](local_crops)
    patch_logits = student["ibot_head"](padded(patches, UPPERBOUND))[: len(patches)]
    class_rows = torch.cat([local_classes, classes]).unsqueeze(0)
    class_logits = student["dino_head"](class_rows).squeeze(0)
    local_logits, global_logits = class_logits.split([len(local_classes), len(classes)])

    # Two local crops with two targets each, and the two global crops with one each.
    loss = dino_loss(list(local_logits.chunk(2)), class_targets) / 6
    loss += 2 * dino_loss([global_logits], [torch.cat(class_targets)]) / 6
    loss += ibot_patch_loss.forward_masked(patch_logits, patch_targets, masks)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 3)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    schedule.step()

    momentum = cosine_schedule(step, args.steps, 0.99, 1)
    with torch.no_grad():
        for ours, theirs in zip(student.parameters(), teacher.parameters(), strict=True):
            theirs.mul_(momentum).add_(ours, alpha=1 - momentum)
    progress.step(loss)

student.eval()  # training is over: the mixture must not see the evaluation
progress.report(teacher["backbone"], teacher["dino_head"])
