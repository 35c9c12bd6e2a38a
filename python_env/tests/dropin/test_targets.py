"""`mixhead.targets()`: the same rows whoever makes them, the rank or the plugin, here or on the device."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mixhead
from mixhead.dropin.registry import mixture
from mixhead.losses import Center, Sinkhorn, sinkhorn_targets, softmax_targets

from .heads import DIM, IN, K, lightly_head, with_teacher

Attach = Callable[..., None]
TEMPERATURE = 0.07


def steps(count: int = 3, size: int = 16) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of each step: the teacher's unit rows, the prototypes that it has left, and its targets."""
    torch.manual_seed(5)
    student, teacher = with_teacher(lightly_head())
    seen = []
    for _ in range(count):
        views = [torch.randn(size, IN) for _ in range(2)]
        for view in views:
            teacher(view)
        student(views[0])
        targets = mixhead.targets()
        rows = torch.cat([F.normalize(teacher.layers(view), dim=-1) for view in views])
        seen.append((rows, mixture("default").save()[0], targets))
    return seen


def made_by_plugin() -> bool:
    return "targetTemperature" not in mixture("default").steps._sent.answer.scalars


@pytest.mark.parametrize("by", ["rank", "plugin"])
@pytest.mark.parametrize("balance", ["sinkhorn", "none", "center"])
def test_targets_of_similarities_equal_the_losses_own_on_either_side(attach: Attach, balance: str, by: str):
    attach(targets={"balance": balance, "temperature": TEMPERATURE, "by": by})
    center = Center(K)
    functions = {"sinkhorn": sinkhorn_targets, "none": softmax_targets, "center": center.targets}
    for rows, prototypes, targets in steps():
        expected = functions[balance](rows @ prototypes.T, TEMPERATURE)
        torch.testing.assert_close(targets, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(rows)))
    assert made_by_plugin() == (by == "plugin" or balance == "center")


def test_targets_that_remember_are_the_plugins_and_those_of_the_losses(attach: Attach):
    attach(targets={"memory": 64, "temperature": TEMPERATURE})
    balance = Sinkhorn(K, memory=64)
    for rows, prototypes, targets in steps(6):
        expected = balance(rows @ prototypes.T, TEMPERATURE)
        torch.testing.assert_close(targets, expected, rtol=1e-3, atol=1e-5)
    assert made_by_plugin()


@pytest.mark.parametrize("placement", ["device"])
@pytest.mark.parametrize(
    "targets",
    [
        {"balance": "sinkhorn"},
        {"balance": "none"},
        {"balance": "center"},
        {"from": "responsibility", "balance": "none"},
        {"from": "responsibility", "balance": "sinkhorn"},
    ],
    ids=str,
)
def test_the_rank_and_the_plugin_make_the_same_targets_here_and_on_the_device(
    attach: Attach, targets: dict[str, str]
):
    makers = [(where, by) for where in ("host", "device") for by in ("rank", "plugin")]
    results = []
    for where, by in makers:
        attach(placement=where, targets={**targets, "by": by, "temperature": TEMPERATURE})
        results.append([made for _, _, made in steps()])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_the_temperature_may_be_a_schedule(attach: Attach):
    attach(
        train={"steps": 4},
        targets={"balance": "none", "temperature": {"linear": {"from": 0.04, "to": 0.2, "steps": 4}}},
    )
    for step, (rows, prototypes, targets) in enumerate(steps(4)):
        temperature = 0.04 + 0.16 * step / 4
        torch.testing.assert_close(
            targets, softmax_targets(rows @ prototypes.T, temperature), rtol=1e-4, atol=1e-5
        )
    assert "targetTemperature" not in mixhead.stats()


@pytest.mark.parametrize("by", ["rank", "plugin"])
def test_autocast_and_double_precision_change_no_digit(attach: Attach, by: str):
    results = []
    for double in (False, True):
        attach(targets={"by": by})
        torch.manual_seed(5)
        student, teacher = with_teacher(lightly_head().double() if double else lightly_head())
        x = torch.randn(16, IN, dtype=torch.float64 if double else torch.float32)
        teacher(x)
        student(x)
        plain = mixhead.targets()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(mixhead.targets(), plain)
        with torch.inference_mode():
            assert torch.equal(mixhead.targets(), plain)
        assert plain.dtype == torch.float32 and not plain.requires_grad
        (plain * student(x)).sum().backward()  # what a loss saves for its backward pass
        results.append(plain)
        del student, teacher
    assert results[0].shape == results[1].shape


@pytest.mark.parametrize("by", ["rank", "plugin"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 0.0])
@pytest.mark.filterwarnings("ignore:.*has not changed the mixture")
def test_targets_of_a_batch_with_a_bad_row_are_nan(attach: Attach, by: str, bad: float):
    attach(targets={"by": by, "balance": "none"})
    mixture("default").attachment.components = K
    target = mixhead.teacher(torch.nn.Linear(DIM, DIM, bias=False).requires_grad_(False))
    torch.nn.init.eye_(target.weight)
    x = torch.randn(8, DIM)
    for rows, expected in ((x, False), (x.index_fill(0, torch.tensor([3]), bad), True), (x, False)):
        target(rows)
        targets = mixhead.targets()
        assert (
            targets.shape == (8, K) and bool(targets.isnan().all()) == bool(targets.isnan().any()) == expected
        )
        mixhead.step()


def test_targets_are_on_the_device_that_is_asked_for(attach: Attach):
    attach(targets={})
    student, teacher = with_teacher(lightly_head())
    teacher(torch.randn(4, IN))
    student(torch.randn(4, IN))
    assert mixhead.targets(device="meta").device.type == "meta"
