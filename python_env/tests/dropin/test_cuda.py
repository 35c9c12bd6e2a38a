"""The drop-in heads on a GPU, whatever the script does with them: the mixture is computed there, beside the
script's own stream. Skipped where there is no CUDA."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightly.loss import DINOLoss
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import mixhead
from mixhead.dropin.gather import RowGather
from mixhead.dropin.registry import mixture

from .heads import DIM, IN, K, lightly_head, meta_head, with_teacher

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

DEVICE = "cuda"
Attach = Callable[..., None]


@pytest.fixture(params=["device"])
def placement(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def full_precision() -> Iterator[None]:
    """Of the script's own products, which are to be the CPU's."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def on_gpu(pair: tuple[nn.Module, nn.Module]) -> tuple[nn.Module, nn.Module]:
    return pair[0].to(DEVICE), pair[1].to(DEVICE)


def steps_taken() -> int:
    return mixture("default").save()[1].step


def train(
    student: nn.Module,
    teacher: nn.Module,
    dtype: torch.dtype = torch.float32,
    steps: int = 4,
    overflow: int = -1,
    device: str = DEVICE,
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


@pytest.mark.parametrize("placement", ["host", "device"])
@pytest.mark.parametrize("make", [lightly_head, meta_head])
def test_trains_as_on_the_cpu(attach: Attach, full_precision: None, make: Callable[..., nn.Module]):
    results = []
    for device in ("cpu", DEVICE):
        attach()
        torch.manual_seed(1)
        pair = with_teacher(make())
        losses = train(*(head.to(device) for head in pair), device=device)
        results.append((losses, mixhead.prototypes()))
        assert steps_taken() == 4
        del pair
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("placement", ["auto"])
def test_auto_is_the_gpu_if_the_heads_are_on_it_even_if_they_moved_late(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    teacher.load_state_dict(student.state_dict())  # begins the mixture, in Node
    assert not mixture("default").attachment.connection.on_device
    start = mixhead.prototypes()
    student, teacher = on_gpu((student, teacher))
    teacher(torch.randn(8, IN, device=DEVICE))
    assert mixture("default").attachment.connection.on_device
    torch.testing.assert_close(mixhead.prototypes(), start)
    student(torch.randn(8, IN, device=DEVICE))
    assert steps_taken() == 1


@pytest.mark.parametrize("placement", ["host", "device"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_a_scaler_that_skips_a_step(attach: Attach, dtype: torch.dtype):
    attach()
    student, teacher = on_gpu(with_teacher(lightly_head(norm="batch")))
    losses = train(student, teacher, dtype, overflow=1 if dtype == torch.float16 else -1)
    assert all(math.isfinite(loss) for loss in losses)
    assert all(parameter.isfinite().all() for parameter in student.parameters())
    assert steps_taken() == 4


def test_whole_modules_in_half_precision(attach: Attach):
    attach()
    student, teacher = (head.half() for head in on_gpu(with_teacher(meta_head())))
    for _ in range(3):
        with torch.no_grad():
            teacher(torch.randn(8, IN, device=DEVICE, dtype=torch.float16))
        out = student(torch.randn(8, IN, device=DEVICE, dtype=torch.float16))
    assert out.dtype == torch.float16 and out.device.type == DEVICE
    out.float().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())


def test_compiled_by_inductor(attach: Attach):
    attach()
    student, teacher = on_gpu(with_teacher(lightly_head()))
    losses = train(torch.compile(student), torch.compile(teacher))
    assert all(math.isfinite(loss) for loss in losses)
    assert steps_taken() == 4


def test_ddp_over_nccl(attach: Attach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")  # whatever this machine's name resolves to
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        attach()
        student, teacher = on_gpu(with_teacher(lightly_head(norm="batch")))
        losses = train(DistributedDataParallel(student, device_ids=[0]), teacher)
        assert all(math.isfinite(loss) for loss in losses)
        assert steps_taken() == 4
        gather, rows = RowGather(1, 20), torch.randn(5, DIM, device=DEVICE)
        assert gather._exchange(5, on_gpu=True) == [5]  # what a world of several does
        assert torch.equal(gather._all(rows, [5]), rows)
        del student, teacher
    finally:
        dist.destroy_process_group()


def test_a_state_saved_on_the_gpu_continues_there(attach: Attach):
    attach()
    student, teacher = on_gpu(with_teacher(lightly_head()))
    train(student, teacher)
    saved = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    prototypes = saved["last_layer.weight_v"].cpu()
    train(student, teacher)
    assert not torch.equal(mixhead.prototypes(), prototypes)
    with pytest.warns(UserWarning, match="goes back from step 8 to step 4"):
        student.load_state_dict(saved)
    assert torch.equal(mixhead.prototypes(), prototypes)
    assert steps_taken() == 4
    train(student, teacher)
    assert steps_taken() == 8


@pytest.mark.parametrize("by", ["rank", "plugin"])
def test_targets_are_full_precision_whatever_the_script_allows(attach: Attach, by: str):
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    made = []
    for device in ("cpu", DEVICE):
        attach(targets={"by": by})
        for rows in feed(batches(3, DIM), K, device):
            targets = mixhead.targets(device=device)
            with torch.autocast(device, dtype=torch.bfloat16):
                assert torch.equal(mixhead.targets(device=device), targets)
            assert targets.device == rows.device
        made.append(targets.cpu())
    torch.backends.cuda.matmul.allow_tf32 = before
    torch.testing.assert_close(made[0], made[1], rtol=1e-3, atol=1e-4)


def test_a_bad_row_on_the_gpu_is_reported_a_step_later_and_changes_nothing(attach: Attach):
    attach()
    good = batches(4, DIM)
    bad = good[1].index_fill(0, torch.tensor([3]), torch.nan)
    told = r"row 3 of the embeddings of step 1 was not finite or all zero"
    seen = []
    with pytest.warns(UserWarning, match=told):
        for _ in feed([good[0], bad, *good[2:]], K, DEVICE):
            seen.append(mixhead.prototypes())
    assert torch.equal(seen[1], seen[2]) and not torch.equal(seen[2], seen[3])


# The stream of the runs, and the script's


def batches(count: int, dim: int, rows: int = 64) -> list[Tensor]:
    random = torch.Generator().manual_seed(7)
    return [torch.randn(rows, dim, generator=random) for _ in range(count)]


def feed(steps: list[Tensor], components: int, device: str) -> Iterator[Tensor]:
    """Each batch is a step; gives its unit rows, when it is sent and the answer may be on its way."""
    mixture("default").attachment.components = components
    target = mixhead.teacher(nn.Identity())  # a layer with weights would itself be computed in TF32
    for batch in steps:
        with torch.no_grad():
            rows = nn.functional.normalize(target(batch.to(device)), dim=-1)
        mixhead.step()
        yield rows


def test_what_the_scripts_stream_does_with_prototypes_sees_those_of_the_step_before(
    attach: Attach, full_precision: None
):
    """The runs take long, of 32,768 components; the script's stream uses their results at once, and all the
    while asks for memory that it writes over."""
    components, dim = 32_768, 128
    logits: dict[str, list[Tensor]] = {"cpu": [], DEVICE: []}
    for device, seen in logits.items():
        attach(placement="device")
        for rows in feed(batches(5, dim, rows=256), components, device):
            the = mixture("default").steps
            prototypes = the.prototypes(rows.device, torch.float32)
            seen.append(rows @ prototypes[::64].T)
            the._next_step()
            after = the.prototypes(rows.device, torch.float32)
            seen.append(rows @ after[::64].T)
            for _ in range(3):
                torch.full((components, dim), torch.nan, device=device)
    for ours, theirs in zip(logits[DEVICE], logits["cpu"], strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("placement", ["host", "device"])
def test_a_step_keeps_no_memory(attach: Attach):
    attach(targets={})
    held, reserved = [], []
    for step, _ in enumerate(feed([*batches(10, 64) * 6], 4096, DEVICE)):
        mixhead.targets(device=DEVICE)
        if step % 10 == 9:
            torch.cuda.synchronize()
            held.append(torch.cuda.memory_allocated())
            reserved.append(torch.cuda.memory_reserved())
    assert max(held[1:]) - min(held[1:]) < 2**20 and reserved[-1] == reserved[1]
