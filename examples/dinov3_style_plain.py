"""DINOv3's recipe on CIFAR-10 (dinov3_style_plain.py: before mixhead, dinov3_style.py: with it).

The networks are made on the meta device, given memory, and initialised by init_weights().
"""

import random
from functools import partial

import torch
from cifar10 import Progress, arguments, batches
from dinov2 import WIDTH, Backbone, DINOLoss, IBOTPatchLoss, draw_masks
from dinov3_head import DINOHead
from lightly.utils.scheduler import cosine_schedule
from torch import nn

args = arguments()
random.seed(args.seed)
head = partial(DINOHead, in_dim=WIDTH, hidden_dim=256, bottleneck_dim=args.dim)
dino_head = partial(head, out_dim=1024)
ibot_head = partial(head, out_dim=512)


def network() -> nn.ModuleDict:
    parts = {"backbone": Backbone(), "dino_head": dino_head(), "ibot_head": ibot_head()}
    return nn.ModuleDict(parts)


with torch.device("meta"):
    student, model_ema = network(), network()
for each in (student, model_ema):
    each.to_empty(device=args.device)
    for tensor in each.state_dict().values():  # NaN shows what init_weights() misses
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
for part in student.values():
    part.init_weights()
model_ema.load_state_dict(student.state_dict())
model_ema.requires_grad_(False)
dino_loss, ibot_patch_loss = DINOLoss(), IBOTPatchLoss()
optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=0.04)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, args.steps + 1, pct_start=0.15)


@torch.no_grad()
def teacher(images: torch.Tensor, masks: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The targets of the two global crops and of the masked patches."""
    classes, patches = model_ema["backbone"].masked(images, masks, hide=False)
    patch_logits = model_ema["ibot_head"](patches)
    class_logits = model_ema["dino_head"](classes)
    of_classes = dino_loss.sinkhorn_knopp_teacher(class_logits, teacher_temp=0.04)
    of_patches = ibot_patch_loss.sinkhorn_knopp_teacher(patch_logits, 0.04, len(patches))
    return list(of_classes.chunk(2)), of_patches


progress = Progress(args)
student.train()
model_ema.eval()
for step, crops in enumerate(batches(args)):
    global_crops, local_crops = torch.cat(crops[:2]), torch.cat(crops[2:])
    masks = draw_masks(len(global_crops)).to(args.device)
    (first, second), patch_targets = teacher(global_crops, masks)

    classes, patches = student["backbone"].masked(global_crops, masks, hide=True)
    local_classes = student["backbone"](local_crops)
    patch_logits = student["ibot_head"](patches)
    class_logits = student["dino_head"](torch.cat([classes, local_classes]))
    global_logits, local_logits = class_logits.split([len(classes), len(local_classes)])

    # Two local crops with two targets each, and the two global crops with the other one's.
    loss = dino_loss(list(local_logits.chunk(2)), [first, second]) / 6
    loss += 2 * dino_loss([global_logits], [torch.cat([second, first])]) / 6
    loss += ibot_patch_loss.forward_masked(patch_logits, patch_targets, masks)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 3)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    schedule.step()

    momentum = cosine_schedule(step, args.steps, 0.99, 1)
    with torch.no_grad():
        for ours, theirs in zip(student.parameters(), model_ema.parameters(), strict=True):
            theirs.mul_(momentum).add_(ours, alpha=1 - momentum)
    progress.step(loss)

student.eval()  # training is over: the mixture must not see the evaluation
progress.report(model_ema["backbone"], model_ema["dino_head"])
