"""With prototypes="online-gmm" a head stands where the original stood, whatever the script does with it."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss
from torch import nn

import mixhead
from mixhead.dropin.registry import mixture

from .heads import DIM, IN, K, lightly_head, meta_head, with_teacher


@pytest.fixture(params=[lightly_head, meta_head])
def make(request, attach: Callable[..., None]) -> Callable[..., nn.Module]:
    attach()
    return request.param


def take_steps(student: nn.Module, teacher: nn.Module, steps: int = 3, size: int = 16) -> None:
    for _ in range(steps):
        with torch.no_grad():
            teacher(torch.randn(size, IN) + 1)
        student(torch.randn(size, IN) + 1)


def test_output_has_the_originals_shape_and_scale(make):
    head = make()
    for shape in ((5, IN), (1, IN), (2, 3, IN)):
        logits = head(torch.randn(shape))
        assert logits.shape == (*shape[:-1], K) and logits.dtype == torch.float32
        assert logits.abs().max() <= 1 + 1e-6 and logits.requires_grad


def test_logits_are_cosines_with_the_prototypes_that_mixhead_tells(make):
    student, teacher = with_teacher(make())
    take_steps(student, teacher)
    x = torch.randn(5, IN)
    mlp = student.layers if hasattr(student, "layers") else student.mlp
    expected = F.normalize(mlp(x), dim=-1) @ mixhead.prototypes().T
    torch.testing.assert_close(student(x), expected)
    torch.testing.assert_close(student.last_layer.weight, mixhead.prototypes())
    torch.testing.assert_close(student.last_layer(F.normalize(mlp(x), dim=-1)), expected)
    torch.testing.assert_close(mixhead.prototypes().norm(dim=1), torch.ones(K))


def test_no_optimizer_ema_or_freezing_by_name_meets_the_prototypes(make):
    student, teacher = with_teacher(make())
    take_steps(student, teacher)
    before = mixhead.prototypes()
    assert not list(student.last_layer.parameters()) and not list(student.last_layer.buffers())
    named = [name for name, _ in student.named_parameters() if "last_layer" in name]
    assert named == []
    if hasattr(student, "cancel_last_layer_gradients"):
        student.cancel_last_layer_gradients(current_epoch=0)
    optimizer = torch.optim.SGD(student.parameters(), 10.0, weight_decay=1.0)
    student(torch.randn(5, IN)).sum().backward()
    optimizer.step()
    for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        ours.data.mul_(0.5).add_(theirs.data, alpha=0.5)
    student.half().float()
    assert torch.equal(mixhead.prototypes(), before)


def test_heads_of_one_name_share_one_mirror_and_copies_are_heads_too(make):
    student, teacher = with_teacher(make())
    separate = make()
    x = torch.randn(5, IN)
    student(x)
    prototypes = mixture("default").steps.prototypes(torch.device("cpu"), torch.float32)
    for head in (student, teacher, separate, copy.deepcopy(teacher)):
        got = mixture(head.last_layer.name).steps.prototypes(torch.device("cpu"), torch.float32)
        assert got.data_ptr() == prototypes.data_ptr()
    assert torch.equal(teacher.eval()(x), student.eval()(x))


def test_another_size_under_the_same_name_is_refused_in_a_sentence(make):
    head = make()
    with pytest.raises(
        ValueError, match=f"have {K} prototypes of dimension {DIM}, this one 7 of {DIM}: give it"
    ):
        mixhead.dino.DINOHead(IN, 7, hidden_dim=16, bottleneck_dim=DIM, prototypes="online-gmm")
    del head


def test_a_new_head_beside_those_of_a_training_warns_unless_it_is_a_copy(make, recwarn):
    student, teacher = with_teacher(make())
    take_steps(student, teacher)
    copied = copy.deepcopy(student)
    assert not [warning for warning in recwarn if "joins mixture" in str(warning.message)]
    with pytest.warns(UserWarning, match=r"has taken \d steps.*call mixhead\.attach\(\) first"):
        other = make()
    del copied, other


def test_heads_of_another_size_may_join_once_the_old_ones_are_gone(make):
    head = make()
    head.itself = [head]  # collected, not counted down
    del head
    smaller = mixhead.dino.DINOHead(IN, 7, hidden_dim=16, bottleneck_dim=DIM, prototypes="online-gmm")
    assert smaller(torch.randn(2, IN)).shape == (2, 7)


def test_replicas_in_threads_are_refused_in_a_sentence(make):
    replica = make().last_layer._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match="use DistributedDataParallel"):
        replica(torch.randn(2, DIM))


def test_a_new_pair_of_heads_starts_over_once_the_old_ones_are_gone(make):
    student, teacher = with_teacher(make())
    take_steps(student, teacher)
    del student, teacher
    heads = with_teacher(make())
    assert mixture("default").save()[1].step == 0
    del heads


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_originals_dtype_near_the_full_result(make, dtype):
    student, teacher = with_teacher(make())
    take_steps(student, teacher)
    x = torch.randn(6, IN)
    full = student(x)
    with torch.autocast("cpu", dtype=dtype):
        autocast = student(x)
    half = student.to(dtype)(x.to(dtype))
    teacher.to(dtype)(x.to(dtype))
    for got in (autocast, half):
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), full, rtol=0.05, atol=0.02)
    half.float().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())


def test_double_precision_is_kept(make):
    assert make().double()(torch.randn(3, IN, dtype=torch.float64)).dtype == torch.float64


def test_a_default_device_of_the_script_does_not_affect_mixhead(make):
    student, teacher = with_teacher(make())
    inputs = [torch.randn(8, IN) for _ in range(4)]
    with torch.device("meta"):  # what is made without naming a device has no numbers here
        for x in inputs:
            teacher(x)
            logits = student(x)
        student.load_state_dict(student.state_dict())
        assert mixhead.prototypes().device.type == logits.device.type == "cpu"
    assert logits.isfinite().all() and mixture("default").save()[1].step == 4


def test_an_overflow_that_makes_the_scaler_skip_is_no_error(make):
    student, teacher = with_teacher(make())
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    for step in range(4):
        with torch.autocast("cpu", dtype=torch.float16):
            with torch.no_grad():
                teacher(torch.randn(8, IN))
            loss = student(torch.randn(8, IN)).float().square().mean()
        optimizer.zero_grad()
        scaler.scale(loss * (math.inf if step == 1 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert all(parameter.isfinite().all() for parameter in student.parameters())
    assert mixture("default").save()[1].step == 4


def test_compiled_heads_train_as_plain_ones(make, attach: Callable[..., None]):
    results = []
    for compiled in (False, True):
        attach()
        torch.manual_seed(1)
        student, teacher = with_teacher(make())
        run = [torch.compile(head, backend="aot_eager") if compiled else head for head in (student, teacher)]
        optimizer = torch.optim.SGD(student.parameters(), 0.1)
        for _ in range(4):
            with torch.no_grad():
                target = run[1](torch.randn(8, IN))
            loss = (run[0](torch.randn(8, IN)) - target).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        results.append((mixhead.prototypes(), *(parameter.detach() for parameter in student.parameters())))
        assert mixture("default").save()[1].step == 4
        del student, teacher, run, optimizer
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain)


def test_channels_last_features_give_the_same(make):
    head = make()
    images = torch.randn(4, IN // 4, 2, 2)
    flat = [x.flatten(1) for x in (images, images.to(memory_format=torch.channels_last))]
    torch.testing.assert_close(*(head.to(memory_format=torch.channels_last)(x) for x in flat))


def test_lightlys_dino_loss_works_unchanged(make):
    student, teacher = with_teacher(make())
    criterion = DINOLoss(K)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-2)
    for epoch in range(5):
        views = [torch.randn(16, IN) for _ in range(4)]
        with torch.no_grad():
            teacher_out = [teacher(view) for view in views[:2]]
        loss = criterion(teacher_out, [student(view) for view in views], epoch=epoch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.isfinite()


def test_a_teacher_in_eval_mode_has_its_norm_from_the_batch(make):
    student, teacher = with_teacher(make(norm="batch"))
    teacher.eval()
    x = torch.randn(64, IN) * 0.01 + 3
    mlp = teacher.layers if hasattr(teacher, "layers") else teacher.mlp
    rows = F.batch_norm(mlp(x).double(), None, None, training=True)
    expected = (F.normalize(rows, dim=-1) @ mixhead.prototypes().double().T).float()
    torch.testing.assert_close(teacher(x), expected)
    for _ in range(100):
        teacher(x)
    torch.testing.assert_close(teacher.norm.running_mean, mlp(x).mean(dim=0), rtol=1e-3, atol=1e-6)
    student.eval()
    torch.testing.assert_close(teacher(x), F.normalize(teacher.norm(mlp(x)), dim=-1) @ mixhead.prototypes().T)


def test_the_norm_keeps_the_running_statistics_of_a_batch_norm(make):
    head, norm = make(norm="batch"), nn.BatchNorm1d(DIM, affine=False)
    mlp = head.layers if hasattr(head, "layers") else head.mlp
    for size in (8, 3):
        x = torch.randn(size, IN)
        head(x), norm(mlp(x))
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(head.norm.get_buffer(name), buffer)


def test_buffers_may_change_between_the_calls_of_a_step(make):
    student = make(norm="batch")
    outs = []
    for _ in range(3):
        for buffer in student.buffers():
            buffer.copy_(buffer.clone())  # as DDP does
        outs.append(student(torch.randn(8, IN)))
    torch.stack(outs).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())


def test_stats_have_the_figures_that_a_script_logs(make):
    student, teacher = with_teacher(make())
    assert math.isnan(mixhead.stats()["used"])
    take_steps(student, teacher)
    while math.isnan(mixhead.stats()["unique"]["0.5"]):  # measured beside the steps
        take_steps(student, teacher)
    stats = mixhead.stats()
    assert stats["unique"].keys() == {"0.025", "0.1", "0.25", "0.5"} and 0 < stats["unique"]["0.025"] <= 1
    assert stats["distinctUsed"].keys() == stats["unique"].keys()
    assert 0 < stats["distinctUsed"]["0.5"] <= stats["distinctUsed"]["0.025"] <= stats["used"]
    assert mixhead.scalars()["mixhead/distinctUsed/0.5"] == stats["distinctUsed"]["0.5"]
    assert 0 < stats["used"] <= 1 and 0 <= stats["entropy"] <= math.log(K) and stats["wait"] > 0


@pytest.mark.parametrize("placement", ["both"])
def test_a_device_tells_the_figures_of_a_step_one_step_later(attach: Callable[..., None]):
    figures = {}
    for where in ("host", "device"):
        attach(placement=where)
        torch.manual_seed(1)
        student, teacher = with_teacher(lightly_head())
        figures[where] = []
        for _ in range(5):
            take_steps(student, teacher, 1)
            mixture("default").steps.receive()
            stats = mixhead.stats()
            assert stats["wait"] > 0
            figures[where].append([stats["used"], stats["entropy"]])
        del student, teacher
    host, device = (torch.tensor(each) for each in figures.values())
    assert device[0].isnan().all() and not host.isnan().any()
    torch.testing.assert_close(device[1:], host[:-1], rtol=1e-4, atol=1e-5)


def test_the_placement_of_the_mixture_is_logged_once(
    attach: Callable[..., None], placement: str, caplog: pytest.LogCaptureFixture
):
    attach()
    student, teacher = with_teacher(lightly_head())
    with caplog.at_level("INFO", logger="mixhead"):
        take_steps(student, teacher)
    where = "in Node" if placement == "host" else "by PyTorch on cpu"
    assert caplog.messages == [f'mixture "default" is computed {where} (placement {placement})']
