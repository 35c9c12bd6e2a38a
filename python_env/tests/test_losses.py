import math

import pytest
import torch
from lightly.loss import DINOLoss

from mixhead.losses import Center, dino_loss, sinkhorn_targets, softmax_targets


def cosines(*shape: int) -> torch.Tensor:
    return torch.rand(*shape) * 2 - 1


def test_dino_loss_with_centering_equals_lightly_over_several_steps():
    original = DINOLoss(output_dim=50, teacher_temp=0.04, student_temp=0.1)
    center = Center(50)
    for _ in range(5):
        teacher = [cosines(8, 50) for _ in range(2)]
        student = [cosines(8, 50) for _ in range(5)]
        theirs = [z.clone().requires_grad_() for z in student]
        expected = original(teacher, theirs, teacher_temp=0.04)
        expected.backward()
        ours = torch.cat(student).requires_grad_()
        loss = dino_loss(ours, center.targets(torch.cat(teacher), 0.04), views=5, temperature=0.1)
        loss.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ours.grad, torch.cat([z.grad for z in theirs]), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(center.value, original.center.flatten(), rtol=0, atol=1e-6)


def test_lists_of_views_and_one_stacked_tensor_give_the_same_loss():
    student, targets = cosines(4, 8, 50), softmax_targets(cosines(16, 50), 0.04)
    stacked = dino_loss(student.flatten(0, 1), targets, views=4, temperature=0.1)
    listed = dino_loss(list(student), list(targets.view(2, 8, 50)), views=4, temperature=0.1)
    assert torch.equal(stacked, listed)


def test_uniform_logits_cost_the_log_of_the_number_of_prototypes():
    loss = dino_loss(torch.zeros(12, 50), softmax_targets(cosines(8, 50), 0.04), views=3, temperature=0.1)
    assert loss.item() == pytest.approx(math.log(50), rel=1e-6)


def test_a_view_is_not_its_own_target():
    with pytest.raises(ValueError, match="at least two views"):
        dino_loss(cosines(8, 50), softmax_targets(cosines(8, 50), 0.04), views=1, temperature=0.1)
    with pytest.raises(ValueError, match="do not fit"):
        dino_loss(cosines(9, 50), softmax_targets(cosines(8, 50), 0.04), views=2, temperature=0.1)


def plain_sinkhorn(logits: torch.Tensor, temperature: float, iterations: int) -> torch.Tensor:
    """The algorithm as SwAV's and DINOv2's papers state it, in float64, prototypes in rows."""
    q = torch.exp(logits.double() / temperature).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(dim=1, keepdim=True) * q.shape[0]
        q /= q.sum(dim=0, keepdim=True) * q.shape[1]
    return (q * q.shape[1]).T


@pytest.mark.parametrize(("n", "k"), [(64, 100), (100, 16), (1, 5), (5, 1)])
@pytest.mark.parametrize("temperature", [0.04, 0.1])
def test_sinkhorn_equals_a_plain_float64_version(n: int, k: int, temperature: float):
    logits = cosines(n, k)
    expected = plain_sinkhorn(logits, temperature, 3)
    torch.testing.assert_close(sinkhorn_targets(logits, temperature).double(), expected, rtol=1e-4, atol=1e-5)


def test_sinkhorn_balances_and_survives_low_temperatures_and_half_precision():
    logits = cosines(64, 16) * 0.2 + torch.linspace(0, 0.8, 16)
    balanced = sinkhorn_targets(logits, 0.04, iterations=50)
    torch.testing.assert_close(balanced.sum(dim=0), torch.full((16,), 4.0), rtol=1e-2, atol=0)
    for hard in (cosines(64, 16) * 0.99, torch.eye(16)):
        targets = sinkhorn_targets(hard.to(torch.float16), 0.001)
        assert targets.isfinite().all()
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(hard)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_give_a_float32_loss_near_the_full_one(dtype: torch.dtype):
    student, teacher = cosines(32, 50), cosines(16, 50)
    full = dino_loss(student, softmax_targets(teacher, 0.04), views=4, temperature=0.1)
    half = dino_loss(student.to(dtype), softmax_targets(teacher.to(dtype), 0.04), views=4, temperature=0.1)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.02, atol=0)
