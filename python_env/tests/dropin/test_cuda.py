"""The drop-in heads on a GPU, whatever the script does with them. Skipped where there is no CUDA."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from lightly.loss import DINOLoss
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import mixhead
from mixhead.dropin.registry import mixture

from .heads import IN, K, lightly_head, meta_head, with_teacher

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.fixture(params=[lightly_head, meta_head])
def make(request, attach: Callable[..., None]) -> Callable[..., nn.Module]:
    attach()
    return request.param


def train(
    student: nn.Module,
    teacher: nn.Module,
    dtype: torch.dtype = torch.float32,
    steps: int = 4,
    overflow: int = -1,
    device: str = "cuda",
) -> list[float]:
    """A loop as scripts have it: autocast, a scaler, the teacher's average."""
    optimizer = torch.optim.AdamW(student.parameters(), 1e-2)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    criterion = DINOLoss(K).to(device)
    random = torch.Generator().manual_seed(5)
    losses = []
    for step in range(steps):
        views = [torch.randn(16, IN, generator=random).to(device) for _ in range(4)]
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            with torch.no_grad():
                teacher_out = [teacher(view) for view in views[:2]]
            student_out = [student(view) for view in views]
            loss = criterion([x.float() for x in teacher_out], [x.float() for x in student_out], epoch=0)
        optimizer.zero_grad()
        scaler.scale(loss * (math.inf if step == overflow else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                ours.lerp_(theirs, 0.01)
        losses.append(loss.item())
    return losses


def test_trains_as_on_the_cpu(make):
    torch.backends.cuda.matmul.allow_tf32 = False
    results = []
    for device in ("cpu", "cuda"):
        mixhead.attach(mixture("default")._settings.endpoint, {"run": f"{make.__name__} on {device}"})
        torch.manual_seed(1)
        pair = with_teacher(make())
        losses = train(*(head.to(device) for head in pair), device=device)
        results.append((losses, mixhead.prototypes()))
        assert mixture("default").save()[1].step == 4
        del pair
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_a_scaler_that_skips_a_step(make, dtype):
    student, teacher = (head.cuda() for head in with_teacher(make(norm="batch")))
    losses = train(student, teacher, dtype, overflow=1 if dtype == torch.float16 else -1)
    assert all(math.isfinite(loss) for loss in losses)
    assert all(parameter.isfinite().all() for parameter in student.parameters())
    assert mixture("default").save()[1].step == 4


def test_whole_modules_in_half_precision(make):
    student, teacher = (head.cuda().half() for head in with_teacher(make()))
    for _ in range(3):
        with torch.no_grad():
            teacher(torch.randn(8, IN, device="cuda", dtype=torch.float16))
        out = student(torch.randn(8, IN, device="cuda", dtype=torch.float16))
    assert out.dtype == torch.float16 and out.is_cuda
    out.float().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())


def test_compiled_by_inductor(make):
    student, teacher = (head.cuda() for head in with_teacher(make()))
    losses = train(torch.compile(student), torch.compile(teacher))
    assert all(math.isfinite(loss) for loss in losses)
    assert mixture("default").save()[1].step == 4


def test_ddp_over_nccl(make, tmp_path):
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        student, teacher = (head.cuda() for head in with_teacher(make(norm="batch")))
        losses = train(DistributedDataParallel(student, device_ids=[0]), teacher)
        assert all(math.isfinite(loss) for loss in losses)
        assert mixture("default").save()[1].step == 4
        del student, teacher
    finally:
        dist.destroy_process_group()


def test_a_state_saved_on_the_gpu_goes_on_there(make):
    student, teacher = (head.cuda() for head in with_teacher(make()))
    train(student, teacher)
    saved = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    prototypes = saved["last_layer.weight_v"].cpu()
    train(student, teacher)
    assert not torch.equal(mixhead.prototypes(), prototypes)
    student.load_state_dict(saved)
    assert torch.equal(mixhead.prototypes(), prototypes)
    assert mixture("default").save()[1].step == 4
    train(student, teacher)
    assert mixture("default").save()[1].step == 8
