"""What scripts in the style of dinov2 bring along: a backbone that hides patches, masks, losses."""

import torch
import torch.nn.functional as F
from lightly.models.utils import random_block_mask
from mixhead.worker.patches import tokens
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

WIDTH, GRID = 96, 8  # features, patches in a row of a global view


class Backbone(nn.Module):
    """A vision transformer for small images (N, 3, 32, 32): -> features (N, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        size = {"img_size": 32, "patch_size": 4, "embed_dim": WIDTH, "depth": 4, "num_heads": 3}
        self.vit = VisionTransformer(**size, num_classes=0, dynamic_img_size=True)
        self.mask_token = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        return self.vit(images)

    def masked(self, images: Tensor, masks: Tensor, hide: bool) -> tuple[Tensor, Tensor]:
        """Features, and those of the M masked patches (M, WIDTH), which ``hide`` hides from the blocks."""
        return tokens(self.vit, images, masks, self.mask_token if hide else None)

    def init_weights(self) -> None:
        """Initialises a backbone that was made on the meta device."""
        for module in self.vit.modules():
            if isinstance(module, nn.Conv2d | nn.LayerNorm):
                module.reset_parameters()
        self.vit.init_weights()
        nn.init.zeros_(self.mask_token)


def draw_masks(images: int) -> Tensor:
    """The patches hidden from the student, (images, GRID, GRID): blocks of patches in half of the images."""
    return random_block_mask((images, GRID, GRID), device=torch.device("cpu"))


def padded(rows: Tensor, count: int) -> Tensor:
    """A buffer of `count` rows: the given ones, then zeros."""
    buffer = rows.new_zeros(count, rows.shape[1])
    buffer[: len(rows)] = rows
    return buffer


class DINOLoss:
    """Cross-entropy of the teacher's global crops and the student's crops."""

    student_temp = 0.1

    def sinkhorn_knopp_teacher(self, logits: Tensor, teacher_temp: float, n_iterations: int = 3) -> Tensor:
        """Logits (N, K) -> targets (N, K) that use all prototypes alike."""
        return sinkhorn_knopp(logits, teacher_temp, n_iterations)

    def __call__(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """The sum over all pairs of the two lists."""
        logs = [F.log_softmax(each.float() / self.student_temp, dim=-1) for each in student]
        return sum(-(target * log).sum(dim=-1).mean() for log in logs for target in teacher)


class IBOTPatchLoss:
    """Cross-entropy of masked patches: the teacher sees them, the student does not."""

    student_temp = 0.1

    def sinkhorn_knopp_teacher(
        self, logits: Tensor, teacher_temp: float, n_masked_patches: int, n_iterations: int = 3
    ) -> Tensor:
        return sinkhorn_knopp(logits[:n_masked_patches], teacher_temp, n_iterations)

    def forward_masked(self, student: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
        """The mean over images of each image's mean over its masked patches: rows (M, K), image by image."""
        loss = -(teacher * F.log_softmax(student.float() / self.student_temp, dim=-1)).sum(dim=-1)
        counts = masks.flatten(1).sum(dim=1)
        return (loss / counts.repeat_interleave(counts).to(loss.device)).sum() / len(masks)


@torch.no_grad()
def sinkhorn_knopp(logits: Tensor, teacher_temp: float, n_iterations: int) -> Tensor:
    q = torch.exp((logits.float() - logits.max()) / teacher_temp).T  # prototypes by samples
    for _ in range(n_iterations):
        q = q / q.sum(dim=1, keepdim=True).clamp_min(1e-30) / len(q)
        q = q / q.sum(dim=0, keepdim=True).clamp_min(1e-30)
    return q.T
