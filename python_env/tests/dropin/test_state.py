"""A script's own checkpoint carries the mixture: it resumes it, and old joint checkpoints begin one."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightly.models.modules.heads import DINOProjectionHead as LightlyHead
from torch import nn

import mixhead
from mixhead.dino import DINOHead
from mixhead.dropin.plugin_process import PluginProcess
from mixhead.dropin.registry import mixture

from .heads import DIM, IN, K, lightly_head, meta_head, with_teacher

Attach = Callable[..., None]


def batch(step: int) -> torch.Tensor:
    return torch.randn(32, IN, generator=torch.Generator().manual_seed(step)) + 0.5


def train(student: nn.Module, teacher: nn.Module, steps: range, student_first: bool = False) -> None:
    optimizer = torch.optim.SGD(student.parameters(), 0.05)
    for step in steps:
        x = batch(step)
        out = student(x[:16]) if student_first else None
        with torch.no_grad():
            target = teacher(x).softmax(dim=-1)
        out = student(x[:16]) if out is None else out
        optimizer.zero_grad()
        F.cross_entropy(out / 0.1, target[16:]).backward()
        optimizer.step()


def through_a_file(value: object) -> object:
    """Tensors only: what torch loads with weights_only."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("make", [lightly_head, meta_head])
@pytest.mark.parametrize("student_first", [False, True])
def test_a_resumed_training_is_the_unbroken_one_bit_for_bit(attach: Attach, make, student_first: bool):
    attach()
    torch.manual_seed(1)
    student, teacher = with_teacher(make())
    train(student, teacher, range(5), student_first)
    saved = through_a_file([student.state_dict(), teacher.state_dict()])
    train(student, teacher, range(5, 9), student_first)
    unbroken = [*student.state_dict().values(), mixhead.prototypes()]

    attach()
    student, teacher = with_teacher(make())
    for head, state in zip((student, teacher), saved, strict=True):
        head.load_state_dict(state)
    train(student, teacher, range(5, 9), student_first)
    for one, other in zip(unbroken, [*student.state_dict().values(), mixhead.prototypes()], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("placement", ["host", "device"])
@pytest.mark.parametrize("kind", ["online-gmm", "kmeans", "sinkhorn"])
def test_a_checkpoint_of_one_placement_continues_under_the_other_to_rounding(
    attach: Attach, placement: str, kind: str
):
    other = "device" if placement == "host" else "host"
    results = []
    for second in (placement, other):
        attach(plugin={"kind": kind})
        torch.manual_seed(1)
        student, teacher = with_teacher(lightly_head())
        train(student, teacher, range(5))
        saved = through_a_file([student.state_dict(), teacher.state_dict()])
        attach(placement=second, plugin={"kind": kind})
        student, teacher = with_teacher(lightly_head())
        for head, state in zip((student, teacher), saved, strict=True):
            head.load_state_dict(state)
        train(student, teacher, range(5, 9))
        results.append(student.state_dict())
        del student, teacher
    assert results[0].keys() == results[1].keys()
    assert results[0]["last_layer.mixture.step"] == 9
    for name, tensor in results[0].items():
        if not name.endswith("progress"):  # what only spares Node some work
            torch.testing.assert_close(results[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_a_state_loads_into_heads_that_have_trained_already(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    train(student, teacher, range(3))
    saved = copy.deepcopy(student.state_dict())
    train(student, teacher, range(3, 6))
    student.load_state_dict(saved)
    after = student.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in saved.items())
    train(student, teacher, range(3, 6))


def test_a_teacher_that_is_given_its_students_state_changes_nothing(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    for step in range(3):
        train(student, teacher, range(step, step + 1))
        ours, theirs = teacher.state_dict(), student.state_dict()
        averaged = {name: (ours[name] * 0.9 + theirs[name] * 0.1).to(ours[name]) for name in ours}
        before = student.state_dict()
        teacher.load_state_dict(averaged)
        after = student.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_state_dicts_hold_tensors_that_are_copies_and_fit_the_original(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    train(student, teacher, range(2))
    state = student.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert state["last_layer.weight_v"].shape == (K, DIM) and state["last_layer.weight_g"].shape == (K, 1)
    for tensor in state.values():
        tensor.zero_()
    assert student.state_dict()["last_layer.weight_v"].abs().sum() > 0
    original = LightlyHead(IN, 16, DIM, K)
    original.load_state_dict(student.state_dict(), strict=False)
    teacher(batch(2))
    torch.testing.assert_close(original(batch(0)), student.eval()(batch(0)))


def test_evaluating_a_checkpoint_needs_no_plugin(attach: Attach):
    attach()
    student, teacher = with_teacher(meta_head())
    train(student, teacher, range(4))
    saved, x = through_a_file(student.state_dict()), torch.randn(4, IN)
    teacher(x)
    expected = student.eval()(x)

    mixhead.attach("ipc:///nowhere/at/all", {"bridge": {"deadline": 0.2}})
    head = meta_head().eval()
    head.load_state_dict(saved)
    assert torch.equal(head(x), expected)
    again = head.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in saved.items())


def test_a_pickled_head_carries_the_mixture_too(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    train(student, teacher, range(3))
    file = io.BytesIO()
    torch.save([student, teacher], file)
    expected = student.state_dict()
    del student, teacher

    attach()
    file.seek(0)
    student, teacher = torch.load(file, weights_only=False)
    assert teacher.last_layer.head() is teacher and student.last_layer.head() is student
    got = student.state_dict()
    assert all(torch.equal(tensor, got[name]) for name, tensor in expected.items())
    train(student, teacher, range(3, 5))
    assert mixture("default").save()[1].step == 5


@pytest.mark.parametrize("attached", [False, True])
def test_the_last_layer_of_an_old_joint_checkpoint_is_the_start(attach: Attach, attached: bool):
    attach()
    old = LightlyHead(IN, 16, DIM, K)
    head = lightly_head()
    x = torch.randn(4, IN)
    if attached:
        train(*with_teacher(head), range(2))
    head.load_state_dict(old.state_dict())
    torch.testing.assert_close(head.eval()(x), old.eval()(x))
    head.train()
    student, teacher = with_teacher(head)
    with torch.no_grad():
        teacher(batch(0))
    torch.testing.assert_close(mixhead.prototypes(), old.last_layer.weight.detach())
    student(batch(0))
    assert mixture("default").save()[1].step == 1


@pytest.mark.parametrize("prototypes", ["joint", "online-gmm"])
def test_a_checkpoint_of_the_newer_weight_norm_loads_into_a_head_with_a_norm(attach: Attach, prototypes: str):
    attach()
    old = nn.Sequential()
    old.mlp = DINOHead(IN, K, hidden_dim=16, bottleneck_dim=DIM).mlp
    old.last_layer = nn.utils.parametrizations.weight_norm(nn.Linear(DIM, K, bias=False))
    head = DINOHead(IN, K, hidden_dim=16, bottleneck_dim=DIM, prototypes=prototypes, norm="batch")
    head.load_state_dict(old.state_dict())
    rows = F.normalize(old.last_layer.weight.detach(), dim=1)
    torch.testing.assert_close(F.normalize(head.last_layer.weight.detach(), dim=1), rows)
    x = torch.randn(5, IN)
    cosines = F.normalize(old.mlp(x), dim=-1) @ rows.T
    got = head.eval()(x) / (1 if prototypes == "online-gmm" else head.last_layer.weight_g.squeeze(1))
    torch.testing.assert_close(got, cosines, rtol=1e-4, atol=1e-5)


def test_a_state_of_an_earlier_step_warns_that_it_goes_back(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    train(student, teacher, range(1))
    saved = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    train(student, teacher, range(1, 3))
    with pytest.warns(UserWarning, match="goes back from step 3 to step 1"):
        teacher.load_state_dict(saved)


def test_a_collapsed_checkpoint_regains_its_uniqueness(attach: Attach):
    attach()
    old = LightlyHead(IN, 16, DIM, K)
    nn.init.ones_(old.last_layer.weight_v)
    head = lightly_head()
    head.load_state_dict(old.state_dict())
    train(*with_teacher(head), range(8))
    closest = (mixhead.prototypes() @ mixhead.prototypes().T).fill_diagonal_(-1).max(dim=1).values
    assert (1 - closest > 0.025).float().mean() > 0.9


@pytest.mark.parametrize("used", [False, True])
def test_a_checkpoint_of_another_size_is_refused_and_changes_no_prototypes(attach: Attach, used: bool):
    attach()
    head = lightly_head()
    if used:
        train(*with_teacher(head), range(1))
    before = head.state_dict()
    sizes = rf"holds 1,024 prototypes of dimension {DIM}, this head has {K} of dimension {DIM}: make a head"
    with pytest.raises(RuntimeError, match=f"last_layer.weight_v: the checkpoint {sizes}"):
        head.load_state_dict(LightlyHead(IN, 16, DIM, 1024).state_dict())
    # The weight is of the head's size, and the mixture's state is not.
    odd = before | {"last_layer.mixture.plugin.prototypes": torch.ones(1024, DIM)}
    with pytest.raises(RuntimeError, match=f"last_layer.mixture.plugin.prototypes: the checkpoint {sizes}"):
        head.load_state_dict(odd)
    with pytest.raises(RuntimeError, match=r"the checkpoint has the shape \(9,\), this head has"):
        head.load_state_dict(before | {"last_layer.weight_v": torch.ones(9)})
    with pytest.raises(RuntimeError, match="weight_v"):
        head.load_state_dict({k: v for k, v in before.items() if "last_layer" not in k})
    after = head.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items() if "last_layer" in name)


def test_the_whole_state_of_a_mixture_of_another_size_is_refused_in_one_sentence(attach: Attach):
    attach()
    student, teacher = with_teacher(
        DINOHead(IN, 512, hidden_dim=16, bottleneck_dim=DIM, prototypes="online-gmm")
    )
    train(student, teacher, range(2))
    saved = student.state_dict()
    del student, teacher
    attach()
    head = DINOHead(IN, 1024, hidden_dim=16, bottleneck_dim=DIM, prototypes="online-gmm")
    with pytest.raises(RuntimeError, match=r"holds 512 prototypes .* this head has 1,024") as refused:
        head.load_state_dict(saved)
    assert str(refused.value).count("\n") == 1  # torch's own line, and ours
    kept = {name: tensor for name, tensor in saved.items() if "last_layer" not in name}
    head.load_state_dict(kept, strict=False)
    train(*with_teacher(head), range(1))
    assert mixhead.prototypes().shape == (1024, DIM)


def test_a_state_of_another_mixture_is_refused_with_the_plugins_sentence(attach: Attach):
    attach()
    head = lightly_head()
    state = head.state_dict()
    state["last_layer.mixture.plugin.counts"] = torch.ones(3, 1)
    with pytest.raises(RuntimeError, match="counts"):
        head.load_state_dict(state)


def test_the_last_known_state_is_saved_if_the_plugin_is_gone():
    plugin = PluginProcess(("backend=wasm",))
    mixhead.attach(plugin.endpoint)
    student, teacher = with_teacher(lightly_head())
    train(student, teacher, range(2))
    plugin.stop()
    with pytest.warns(UserWarning, match="saved without their mixture's state"):
        state = student.state_dict()
    assert not any("mixture." in name for name in state)
    torch.testing.assert_close(state["last_layer.weight_v"].norm(dim=1), torch.ones(K))
