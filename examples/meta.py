"""What scripts in the style of facebookresearch/dino bring along: multi-crop wrapper and loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiCropWrapper(nn.Module):
    """Runs the backbone once per resolution, and the head once over all crops."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, crops: list[Tensor]) -> Tensor:
        sizes = sorted({crop.shape[-1] for crop in crops}, reverse=True)
        same = [torch.cat([crop for crop in crops if crop.shape[-1] == size]) for size in sizes]
        return self.head(torch.cat([self.backbone(images) for images in same]))


class DINOLoss(nn.Module):
    """Cross-entropy of the student's crops with the teacher's other global crops, centred and sharpened."""

    def __init__(
        self,
        out_dim: int,
        ncrops: int,
        warmup_teacher_temp: float,
        teacher_temp: float,
        warmup_teacher_temp_epochs: int,
        nepochs: int,
        student_temp: float = 0.1,
    ) -> None:
        super().__init__()
        self.ncrops, self.student_temp = ncrops, student_temp
        warmup = torch.linspace(warmup_teacher_temp, teacher_temp, warmup_teacher_temp_epochs).tolist()
        self.teacher_temps = warmup + [teacher_temp] * (nepochs - len(warmup))
        self.register_buffer("center", torch.zeros(1, out_dim))

    def forward(self, student_output: Tensor, teacher_output: Tensor, epoch: int) -> Tensor:
        student = F.log_softmax(student_output / self.student_temp, dim=-1).chunk(self.ncrops)
        temperature = self.teacher_temps[epoch]
        teacher = F.softmax((teacher_output - self.center) / temperature, dim=-1).detach().chunk(2)
        pairs = [(t, s) for t in range(2) for s in range(self.ncrops) if s != t]
        self.center = 0.9 * self.center + 0.1 * teacher_output.detach().mean(dim=0, keepdim=True)
        return sum(-(teacher[t] * student[s]).sum(dim=-1).mean() for t, s in pairs) / len(pairs)
