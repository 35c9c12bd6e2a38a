from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mixhead.losses import dino_loss, sinkhorn_targets
from mixhead.mirror import Mirror
from mixhead.worker import checkpoint
from mixhead.worker.errors import WorkerError
from mixhead.worker.loop import crops
from mixhead.worker.methods import METHODS, Batch, Method
from mixhead.worker.randomness import generator
from mixhead.worker.state import State, choose_device, start
from mixhead.worker.step import finish, measured, student_rows, teacher_rows
from tests.worker.runs import BATCH, COMPONENTS, Reply, clock, config, reply, start_rows

PROTOTYPES = start_rows()


def begin(**changes: object) -> State:
    state = start(config(**changes), choose_device("cpu"))
    if state.mirror is not None:
        state.mirror = Mirror(PROTOTYPES)
    return state


def views_of(state: State) -> list[torch.Tensor]:
    random = generator(0, "views", state.step)
    return [
        torch.randn(BATCH * crop.count, 3, crop.size, crop.size, generator=random)
        for crop in crops(state.config)
    ]


def take_step(state: State) -> tuple[torch.Tensor, torch.Tensor]:
    views = views_of(state)
    h, z = teacher_rows(state, views[:1]), student_rows(state, views)
    finish(state, h, z, reply(state.step, h, PROTOTYPES) if state.mirror else Reply(clock(state.step)))
    return h, z


def weights(state: State) -> dict[str, torch.Tensor]:
    pairs = (("student", state.student), ("teacher", state.teacher))
    return {f"{of}.{name}": tensor for of, module in pairs for name, tensor in module.state_dict().items()}


def assert_same(left: State, right: State) -> None:
    a, b = weights(left), weights(right)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    assert torch.equal(left.center.value, right.center.value)
    for ours, theirs in zip(left.sinkhorn.buffers(), right.sinkhorn.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    assert {k: float(v) for k, v in left.measured.items()} == {k: float(v) for k, v in right.measured.items()}


ARMS = [
    {"prototypes": "decoupled"},
    {"prototypes": "joint"},
    {"prototypes": "joint", "targets": {"balance": "center"}},
    {"prototypes": "decoupled", "targets": {"memory": 40}},
    {"prototypes": "joint", "method": "swav", "targets": {"memory": 40}},
    {"prototypes": "joint", "head": {"norm": "none"}, "targets": {"balance": "none"}},
]


@pytest.mark.parametrize("arm", ARMS)
def test_a_resumed_run_is_bit_for_bit_the_one_that_was_never_interrupted(arm: dict, tmp_path: Path):
    unbroken = begin(**arm)
    for _ in range(3):
        take_step(unbroken)
    folder = checkpoint.save(unbroken, tmp_path)
    resumed = begin(**arm)
    checkpoint.restore(resumed, folder)
    assert resumed.step == 3
    assert_same(resumed, unbroken)
    for _ in range(3):
        take_step(unbroken)
        take_step(resumed)
    assert_same(resumed, unbroken)


def test_all_arms_start_from_the_same_encoder_and_projection():
    joint, decoupled = weights(begin(prototypes="joint")), weights(begin(prototypes="decoupled"))
    assert set(joint) - set(decoupled) == {
        f"{of}.head.last_layer.{part}" for of in ("student", "teacher") for part in ("weight_g", "weight_v")
    }
    for name in decoupled:
        assert torch.equal(joint[name], decoupled[name]), name
    other = weights(begin(seed=4))
    assert not torch.equal(other["student.head.layers.0.weight"], decoupled["student.head.layers.0.weight"])


def test_a_step_is_the_dino_loss_adamw_and_the_teachers_average():
    state = begin(prototypes="joint", train={"clip": 0})
    for _ in range(2):
        take_step(state)
    student = [p.detach().clone() for p in state.student.parameters() if p.requires_grad]
    teacher = [p.clone() for p in state.teacher.parameters()]
    views = views_of(state)
    h, z = teacher_rows(state, views[:1]), student_rows(state, views)
    targets = sinkhorn_targets(state.teacher.head.last_layer(h), 0.04)
    expected = dino_loss(state.student.head.last_layer(z), targets, 3, 0.1)
    parameters = [p for p in state.student.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(expected, parameters, retain_graph=True)
    finish(state, h, z, Reply(clock(2)))

    assert state.measured["loss"] == expected.detach()
    assert float(state.measured["gradNorm"]) == pytest.approx(
        torch.stack([g.norm() for g in gradients]).norm().item(), rel=1e-5
    )
    values = clock(2)
    for before, now, gradient in zip(student, parameters, gradients, strict=True):
        moments = state.optimizer.state[now]
        torch.testing.assert_close(now.grad, gradient, rtol=1e-4, atol=1e-7)
        corrected = moments["exp_avg"] / (1 - 0.9 ** moments["step"])
        scale = (moments["exp_avg_sq"] / (1 - 0.999 ** moments["step"])).sqrt() + 1e-8
        decay = values["weightDecay"] if before.ndim > 1 else 0.0
        moved = before * (1 - values["lr"] * decay) - values["lr"] * corrected / scale
        torch.testing.assert_close(now.detach(), moved, rtol=1e-5, atol=1e-6)
    for before, now, towards in zip(
        teacher, state.teacher.parameters(), state.student.parameters(), strict=True
    ):
        average = before * values["momentum"] + towards * (1 - values["momentum"])
        torch.testing.assert_close(now, average.detach(), rtol=1e-6, atol=1e-7)


def test_prototypes_do_not_move_while_they_are_frozen():
    state = begin(prototypes="joint")
    start_weight = state.student.head.last_layer.weight_v.detach().clone()
    for frozen in (True, True, False):
        assert torch.equal(state.student.head.last_layer.weight_v, start_weight)
        take_step(state)
        assert bool(clock(state.step - 1)["freezePrototypes"]) == frozen
    assert not torch.equal(state.student.head.last_layer.weight_v, start_weight)


BY_PLUGIN = {"targets": {"by": "plugin"}}


def test_the_plugins_rows_and_targets_reach_the_loss():
    state = begin(**BY_PLUGIN)
    views = views_of(state)
    h, z = teacher_rows(state, views[:1]), student_rows(state, views)
    targets = torch.softmax(torch.randn(2 * BATCH, COMPONENTS), dim=1)
    rows = start_rows(seed=1)
    finish(state, h, z, Reply(clock(0), rows, None, targets.numpy()))
    expected = dino_loss(z @ torch.from_numpy(rows).T, targets, 3, 0.1)
    torch.testing.assert_close(state.measured["loss"], expected.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        *({"targets": {"balance": of}} for of in ("sinkhorn", "center", "none")),
        {"targets": {"memory": 40}},
        {"method": "carp"},
        {"method": "carp", "carp": {"balance": "block"}},
    ],
)
def test_both_arms_make_targets_of_similarities_by_the_same_function(settings: dict):
    state = begin(**settings)
    joint = begin(prototypes="joint", **settings)
    views = views_of(state)
    h, z = teacher_rows(state, views[:1]), student_rows(state, views).detach()
    for _ in range(2):
        rows = joint.teacher.head.last_layer.weight.detach().numpy().copy()
        finish(state, h, z.clone().requires_grad_(), Reply(clock(0), rows, None))
        finish(joint, h, z.clone().requires_grad_(), Reply(clock(0)))
    torch.testing.assert_close(state.measured["loss"], joint.measured["loss"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(state.center.value, joint.center.value, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(state.sinkhorn.buffers(), joint.sinkhorn.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Reply(clock(0)), "step 0: the plugin sent no targets"),
        (Reply({}, targets=torch.ones(2 * BATCH, COMPONENTS).numpy()), "no value for studentTemperature"),
    ],
)
def test_an_answer_that_does_not_fit_is_one_sentence(broken: Reply, sentence: str):
    state = begin(**BY_PLUGIN)
    views = views_of(state)
    h, z = teacher_rows(state, views[:1]), student_rows(state, views)
    with pytest.raises(WorkerError, match=sentence):
        finish(state, h, z, broken)
    assert state.step == 0


@pytest.mark.parametrize(
    ("loss", "problem"),
    [
        (lambda batch: batch.z.sum(dim=1), r"has shape \(\d+,\); allowed: a scalar tensor"),
        (lambda batch: batch.z.sum().item(), "is a float"),
        (lambda batch: batch.h.sum(), "has no gradient"),
    ],
)
def test_a_method_whose_loss_cannot_be_learned_from_is_named(
    monkeypatch: pytest.MonkeyPatch, loss: Callable[[Batch], object], problem: str
):
    monkeypatch.setitem(METHODS, "mine", Method(loss))  # type: ignore[arg-type]
    state = begin(method="mine")
    views = views_of(state)
    h, z = teacher_rows(state, views[:1]), student_rows(state, views)
    with pytest.raises(WorkerError, match=f"the loss of method mine {problem}"):
        finish(state, h, z, reply(0, h, PROTOTYPES))


@pytest.mark.parametrize(
    ("precision", "steps", "advice"),
    [
        ("float32", 0, "check the loss of method dino and the encoder"),
        ("bfloat16", 0, "check the loss of method dino and the encoder, or try precision=float32"),
        ("float32", 1, "a lower train.lr may help"),
        ("bfloat16", 1, "a lower train.lr may help, or precision=float32"),
    ],
)
def test_a_loss_that_is_not_a_number_ends_the_run_with_advice_that_fits_the_step(
    precision: str, steps: int, advice: str
):
    """At step 0 the learning rate cannot be the cause, and in full precision the precision cannot."""
    state = begin(precision=precision)
    for _ in range(steps):
        take_step(state)
    views = views_of(state)
    h, z = teacher_rows(state, views[:1]), student_rows(state, views)
    finish(state, h, z * float("nan"), reply(steps, h, PROTOTYPES))
    with pytest.raises(WorkerError, match=f"^the loss of step {steps} is nan: .*{re.escape(advice)}$"):
        measured(state)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_starts_near_the_full_one_and_stays_finite(precision: str):
    full, half = begin(), begin(precision=precision)
    take_step(full)
    h, z = take_step(half)
    assert h.dtype == z.dtype == torch.float32
    assert float(half.measured["loss"]) == pytest.approx(float(full.measured["loss"]), rel=0.03)
    for _ in range(3):
        take_step(half)
    assert all(tensor.isfinite().all() for tensor in weights(half).values())


def test_a_checkpoint_that_is_not_whole_is_one_sentence(tmp_path: Path):
    state = begin()
    folder = checkpoint.save(state, tmp_path)
    (folder / "student.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(WorkerError, match="incomplete, or belongs to another configuration"):
        checkpoint.restore(begin(), folder)
    (folder / "student.safetensors").unlink()
    with pytest.raises(WorkerError, match=r"student\.safetensors"):
        checkpoint.restore(begin(), folder)
    with pytest.raises(WorkerError, match="incomplete, or belongs to another configuration"):
        checkpoint.restore(begin(encoder={"name": "resnet18-32"}), checkpoint.save(state, tmp_path))
