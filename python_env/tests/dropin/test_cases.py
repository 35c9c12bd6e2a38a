"""Situations that users of DINO, DINOv2, DINOv3, lightly-train and stable-pretraining reported."""

import copy
import io
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

import mixhead
import mixhead.dinov2
import mixhead.dinov3
import mixhead.ibot
from mixhead.dino import DINOHead
from mixhead.dropin.registry import mixture

IN, DIM, K = 32, 16, 64
SIZE = dict(in_dim=IN, out_dim=K, hidden_dim=64, bottleneck_dim=DIM, prototypes="online-gmm")
Attach = Callable[..., None]
Pair = tuple[DINOHead, DINOHead]


def pair(**more: object) -> Pair:
    student, teacher = DINOHead(**SIZE, **more), DINOHead(**SIZE, **more)
    teacher.load_state_dict(student.state_dict())
    return student, teacher.requires_grad_(False)


@pytest.fixture
def heads(attach: Attach) -> Pair:
    attach()
    return pair()


def step(student: nn.Module, teacher: nn.Module, x: Tensor | None = None) -> Tensor:
    x = torch.randn(32, IN) if x is None else x
    with torch.no_grad():
        teacher(x)
    output = student(x)
    output.square().sum().backward()
    return output


def steps_taken() -> int:
    return mixture("default").save()[1].step


def test_padding_gets_logits_and_feeds_neither_the_mixture_nor_the_norm(attach: Attach):
    """DINOv2 fills its buffers of masked patches up with zeros."""
    results = []
    for rows in (30, 40):
        attach(targets={"balance": "none"})
        torch.manual_seed(1)
        student, teacher = pair(norm="batch")
        teacher.eval()
        for _ in range(4):
            x = torch.zeros(rows, IN)
            x[:30] = torch.randn(30, IN, generator=torch.Generator().manual_seed(_)) + 1
            with torch.no_grad():
                logits = teacher(x)
            assert logits.shape == (rows, K) and logits.isfinite().all()
            made = mixhead.targets()
            assert made.shape == (rows, K) and not made[30:].any() and (made[:30].sum(dim=1) > 0.99).all()
            student(x[None, :30]).sum().backward()
        results.append((mixhead.prototypes(), teacher.norm.running_mean.clone(), logits[:30]))
        assert steps_taken() == 4
        del student, teacher
    for plain, padded in zip(*results, strict=True):
        torch.testing.assert_close(padded, plain, rtol=0, atol=1e-5)


def test_padding_may_be_anywhere_in_rows_of_more_dimensions(attach: Attach):
    attach(targets={"balance": "none"})
    student, teacher = pair(norm="batch")
    x = torch.randn(3, 7, IN)
    x[1, 4:] = 0
    padding = (x == 0).all(dim=-1).flatten()
    with torch.no_grad():
        teacher(x)
        teacher(torch.randn(5, IN))
    made = mixhead.targets()
    assert made.shape == (26, K) and not made[:21][padding].any()
    assert (made[:21][~padding].sum(dim=1) > 0.99).all() and (made[21:].sum(dim=1) > 0.99).all()
    student(x).sum().backward()
    assert steps_taken() == 1


def test_padding_is_known_between_dinov3s_two_halves(attach: Attach):
    attach(targets={"balance": "none"})
    student = mixhead.dinov3.DINOHead(**SIZE)
    torch.nn.init.ones_(student.mlp[-1].bias)
    teacher = copy.deepcopy(student).requires_grad_(False)
    x = torch.randn(10, IN)
    x[7:] = 0
    teacher(teacher(x, no_last_layer=True), only_last_layer=True)
    student(x)
    made = mixhead.targets()
    assert made[:7].any(dim=1).all() and not made[7:].any()


def test_class_and_patch_tokens_of_a_shared_ibot_head_are_one_batch(attach: Attach):
    attach()
    sizes = dict(hidden_dim=64, bottleneck_dim=DIM, shared_head=True, prototypes="online-gmm", norm="batch")
    student = mixhead.ibot.iBOTHead(IN, K, K, **sizes)
    teacher = copy.deepcopy(student).requires_grad_(False)
    for _ in range(3):
        x = torch.randn(6, 5, IN)
        with torch.no_grad():
            teacher(x)
        sum(output.sum() for output in student(x)).backward()
    assert steps_taken() == 3


def test_a_batch_of_nothing_but_padding_is_no_step_and_is_reported(heads: Pair):
    with pytest.warns(UserWarning, match="all rows of the teacher are zero, so they are padding"):
        step(*heads, torch.zeros(8, IN))
    assert steps_taken() == 0
    step(*heads)
    assert steps_taken() == 1


def test_targets_of_nothing_but_padding_are_zero(attach: Attach):
    attach(targets={"balance": "none"})
    student, teacher = pair()
    for each in range(3):
        with torch.no_grad():
            teacher(torch.zeros(8, IN) if each == 1 else torch.randn(8, IN))
        made = mixhead.targets()
        assert made.shape == (8, K) and bool(made.any()) == (each != 1)
        student(torch.randn(8, IN))
    assert steps_taken() == 2


@pytest.mark.parametrize("norm", ["batch", "syncbatch"])
def test_no_module_of_a_head_is_a_batch_norm(attach: Attach, norm: str):
    attach()
    assert not [part for head in pair(norm=norm) for part in head.modules() if isinstance(part, _BatchNorm)]


def test_a_distributed_checkpoint_saves_and_resumes_the_mixture(attach: Attach, tmp_path):
    attach()
    model = nn.ModuleDict(dict(zip(("student", "teacher"), pair(norm="batch"), strict=True)))
    for _ in range(3):
        step(*model.values())
    dcp.save(get_model_state_dict(model), checkpoint_id=tmp_path, no_dist=True)
    expected, prototypes = model.state_dict(), mixhead.prototypes()
    del model

    attach()
    model = nn.ModuleDict(dict(zip(("student", "teacher"), pair(norm="batch"), strict=True)))
    state = get_model_state_dict(model)
    dcp.load(state, checkpoint_id=tmp_path, no_dist=True)
    set_model_state_dict(model, state)
    assert steps_taken() == 3
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[key])
    step(*model.values())
    assert mixhead.prototypes().shape == prototypes.shape and steps_taken() == 4


@pytest.mark.parametrize("how", ["deepcopy", "averaged"])
def test_a_teacher_that_is_never_frozen_is_reported_by_its_calls(attach: Attach, how: str):
    """As in lightly-train, and in torch's AveragedModel."""
    attach()
    student = DINOHead(**SIZE)
    teacher = copy.deepcopy(student) if how == "deepcopy" else AveragedModel(student)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            step(student, teacher)
    assert steps_taken() == 3


def test_an_average_by_the_order_of_state_dicts_meets_its_own_tensors(attach: Attach):
    """As timm's `ModelEmaV2`: the mixture's state, which a frozen teacher does not have, comes last."""
    attach()
    student, teacher = pair(norm="batch")
    step(student, teacher)
    with torch.no_grad():
        for ours, theirs in zip(teacher.state_dict().values(), student.state_dict().values(), strict=False):
            ours.copy_(theirs)
    for name, tensor in teacher.named_buffers():
        assert torch.equal(tensor, student.get_buffer(name))


def test_a_copy_of_a_head_that_compiles_itself_is_a_head_of_its_own(attach: Attach):
    """`module.compile()`, as DINOv3 does, keeps a call of the module itself among its attributes."""
    attach()
    student = DINOHead(**SIZE)
    student.compile(backend="aot_eager")
    student.last_layer.compile(backend="aot_eager")
    teacher = copy.deepcopy(student).requires_grad_(False)
    with torch.no_grad():
        teacher.mlp[-1].weight.zero_()
        teacher.mlp[-1].bias.fill_(1)
        logits = teacher(torch.randn(8, IN))
    torch.testing.assert_close(logits, logits[:1].expand(8, K))
    step(student, teacher)
    assert steps_taken() == 1
    torch.save(student, io.BytesIO())


def test_forward_by_itself_counts_as_a_call(heads: Pair):
    student, teacher = heads
    with torch.no_grad():
        teacher.forward(torch.randn(8, IN))
    student.forward(torch.randn(8, IN))
    assert steps_taken() == 1


def test_rows_of_a_student_that_was_evaluated_before_the_training_feed_nothing(attach: Attach):
    attach()
    student = DINOHead(**SIZE)
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        student.eval()(torch.randn(64, IN))
    student.train()
    step(student, teacher)
    assert steps_taken() == 1 and mixhead.stats()["wait"] >= 0
    assert len(mixture("default").steps._rows) == 0


def test_a_student_that_is_its_own_teacher_is_an_error_at_the_first_step(attach: Attach):
    attach()
    student = DINOHead(**SIZE)
    with pytest.raises(ValueError, match=r"has one head, which is called as a student and.* as a teacher"):
        step(student, student)


def test_a_lone_head_may_be_called_without_a_gradient_if_another_module_feeds(attach: Attach):
    attach()
    student, target = DINOHead(**SIZE), mixhead.teacher(nn.Linear(IN, DIM))
    target(torch.randn(32, IN))
    step(student, student)
    mixhead.step()
    assert steps_taken() == 1


def test_a_teacher_that_shares_tensors_is_an_error_at_the_first_step(attach: Attach):
    attach()
    student, teacher = DINOHead(**SIZE), DINOHead(**SIZE)
    teacher.mlp = student.mlp
    with pytest.raises(ValueError, match=r"share tensors \(mlp\.0\.weight, the first of 6\)"):
        step(student, teacher)


def test_an_evaluation_between_two_steps_is_no_step(heads: Pair):
    student, teacher = heads
    fed = []
    send = mixture("default").steps._send
    for each in range(3):
        if each == 2:
            with mixhead.paused(), torch.no_grad():
                for _ in range(20):
                    teacher(torch.randn(16, IN))
        step(student, teacher)
        fed.append(mixture("default").steps.taken)
    assert steps_taken() == 3 and send is not None
    rows = []
    mixture("default").attachment.connection.send = lambda step, batch: rows.append(len(batch))
    with pytest.warns(UserWarning, match="20 times .* or|was called 21 times before its student was"):
        with torch.no_grad():
            for _ in range(20):
                teacher(torch.randn(16, IN))
            teacher(torch.randn(32, IN))
        student(torch.randn(4, IN))
    assert rows == [32]


def test_an_evaluation_follows_the_steps_rows_if_the_student_is_called_first(
    heads: Pair, monkeypatch: pytest.MonkeyPatch
):
    student, teacher = heads
    fed: list[int] = []
    send = mixture("default").steps._send
    steps = mixture("default").steps
    monkeypatch.setattr(steps, "_send", lambda: (fed.extend(map(len, steps._rows)), send()))
    for each in range(4):
        student(torch.randn(30 + each, IN)).sum().backward()
        with torch.no_grad():
            teacher(torch.randn(30 + each, IN))
    with torch.no_grad():
        for _ in range(20):
            teacher(torch.randn(16, IN))
    with pytest.warns(UserWarning, match="all but the first 1 calls are taken for an evaluation"):
        student(torch.randn(8, IN))
    assert fed == [30, 31, 32, 33]


def test_keys_of_a_state_dict_are_the_same_through_a_heads_life(attach: Attach, tmp_path):
    from mixhead.dropin.plugin_process import PluginProcess

    plugin = PluginProcess(("backend=wasm", "bridge.deadline=20"))
    mixhead.attach(plugin.endpoint, {"bridge": {"deadline": 20}})
    student, teacher = pair()
    keys = [list(student.state_dict())]
    step(student, teacher)
    keys.append(list(student.state_dict()))
    student.load_state_dict(DINOHead(**{**SIZE, "prototypes": "joint"}).state_dict())
    keys.append(list(student.state_dict()))
    step(student, teacher)
    plugin.stop()
    with pytest.warns(UserWarning, match="saved without their mixture's state"):
        saved = student.state_dict()
    keys.append(list(saved))
    assert all(each == keys[0] for each in keys) and any("mixture." in key for key in keys[0])
    assert [key for key in teacher.state_dict() if "mixture." in key] == []

    attach()
    again, _ = pair()
    again.load_state_dict(saved)
    assert steps_taken() == 0
    torch.testing.assert_close(mixhead.prototypes(), saved["last_layer.weight_v"])


def test_student_and_teacher_do_not_both_carry_the_mixture(attach: Attach):
    attach()
    student, teacher = pair()

    def size(module: nn.Module) -> int:
        file = io.BytesIO()
        torch.save(module.state_dict(), file)
        return len(file.getvalue())

    joint = DINOHead(**{**SIZE, "prototypes": "joint"})
    assert size(student) > size(joint) + 8000 and abs(size(teacher) - size(joint)) < 100
