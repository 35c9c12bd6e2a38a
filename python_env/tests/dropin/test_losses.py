"""The losses that are given their targets equal their originals, and take the plugin's."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, IBOTPatchLoss, MSNLoss, PMSNLoss, SwaVLoss
from lightly.loss.swav_loss import sinkhorn as swav_sinkhorn
from torch import Tensor

import mixhead
from mixhead.dino import SinkhornDINOLoss as MetaSinkhornDINOLoss
from mixhead.dropin.registry import mixture
from mixhead.lightly import SinkhornDINOLoss
from mixhead.losses import (
    Center,
    Sinkhorn,
    carp_loss,
    dino_loss,
    ibot_patch_loss,
    random_partition,
    sinkhorn_targets,
    softmax_targets,
    swav_loss,
)
from mixhead.solo import SinkhornDINOLoss as SoloSinkhornDINOLoss

from .heads import DIM, IN, K, lightly_head, with_teacher

Attach = Callable[..., None]


def cosines(*shape: int) -> Tensor:
    return torch.rand(*shape) * 2 - 1


def assert_equal(
    ours: Callable[[Tensor], Tensor], original: Callable[[Tensor], Tensor], student: Tensor
) -> None:
    """The same loss and gradients to 1e-5."""
    inputs = [student.clone().requires_grad_() for _ in range(2)]
    losses = [loss(x) for loss, x in zip((ours, original), inputs, strict=True)]
    for loss in losses:
        loss.sum().backward()
    torch.testing.assert_close(losses[0], losses[1].squeeze(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-5, atol=1e-7)


class MetaDINOLoss:
    """facebookresearch/dino's loss for given targets, written anew from what it does: a loop over pairs."""

    def __init__(self, ncrops: int, student_temp: float) -> None:
        self.ncrops, self.student_temp = ncrops, student_temp

    def __call__(self, student_output: Tensor, targets: list[Tensor]) -> Tensor:
        crops = (student_output / self.student_temp).chunk(self.ncrops)
        terms = [
            (-q * F.log_softmax(crops[v], dim=-1)).sum(dim=-1).mean()
            for i, q in enumerate(targets)
            for v in range(self.ncrops)
            if v != i
        ]
        return sum(terms) / len(terms)


def test_dinos_loss_equals_lightlys_and_metas():
    teacher, center = cosines(16, 50), Center(50)
    targets = center.targets(teacher, 0.04)
    lightly = DINOLoss(50)
    assert_equal(
        lambda x: dino_loss(x, targets, 5, 0.1),
        lambda x: lightly(list(teacher.chunk(2)), list(x.chunk(5))),
        cosines(40, 50),
    )
    meta = MetaDINOLoss(5, 0.1)
    assert_equal(
        lambda x: dino_loss(x, targets, 5, 0.1), lambda x: meta(x, targets.chunk(2)), cosines(40, 50)
    )


@pytest.mark.parametrize(("epoch", "temperature"), [(0, 0.02), (1, 0.03), (2, 0.04), (7, 0.04)])
def test_the_sinkhorn_losses_are_called_as_the_originals_and_differ_in_the_targets(
    epoch: int, temperature: float
):
    teacher, student, meta = cosines(16, 50), cosines(40, 50), MetaDINOLoss(5, 0.1)
    targets, views = sinkhorn_targets(teacher, temperature).chunk(2), list(teacher.chunk(2))
    ours = MetaSinkhornDINOLoss(50, 5, 0.02, 0.04, 3, 8, student_temp=0.1)
    assert_equal(lambda x: ours(x, teacher, epoch), lambda x: meta(x, targets), student)
    solos = SoloSinkhornDINOLoss(50, 0.02, 0.04, 3, 8, student_temp=0.1, num_large_crops=5)
    solos.epoch = epoch
    assert torch.equal(solos(student, teacher), ours(student, teacher, epoch))
    theirs = SinkhornDINOLoss(50, 0.02, 0.04, 3)
    assert_equal(lambda x: theirs(views, list(x.chunk(5)), epoch=epoch), lambda x: meta(x, targets), student)
    given = theirs(views, list(student.chunk(5)), teacher_temp=0.07)
    torch.testing.assert_close(given, meta(student, sinkhorn_targets(teacher, 0.07).chunk(2)))


def test_the_sinkhorn_losses_remember_rows_if_they_are_asked_to_and_continue_from_their_state():
    pairs = [(cosines(16, 50), cosines(40, 50)) for _ in range(4)]
    balance = Sinkhorn(50, memory=64)
    targets = [balance(teacher, 0.04) for teacher, _ in pairs]
    expected = [dino_loss(student, q, 5, 0.1) for (_, student), q in zip(pairs, targets, strict=True)]

    def lightlys(loss: SinkhornDINOLoss, teacher: Tensor, student: Tensor) -> Tensor:
        return loss(list(teacher.chunk(2)), list(student.chunk(5)))

    def metas(loss: MetaSinkhornDINOLoss, teacher: Tensor, student: Tensor) -> Tensor:
        return loss(student, teacher, 7)

    kinds = [
        (lambda **more: SinkhornDINOLoss(50, **more), lightlys),
        (lambda **more: MetaSinkhornDINOLoss(50, 5, 0.04, 0.04, 3, 8, **more), metas),
    ]
    for make, call in kinds:
        assert make().state_dict() == {}
        loss, resumed = make(memory=64), make(memory=64)
        values = [call(loss, *pair) for pair in pairs[:2]]
        resumed.load_state_dict(loss.state_dict())
        values += [call(resumed, *pair) for pair in pairs[2:]]
        torch.testing.assert_close(torch.stack(values), torch.stack(expected))


def test_ibots_patch_loss_equals_lightlys():
    mask = torch.rand(6, 4, 4) > 0.5
    mask[2] = False
    patches = int(mask.sum())
    teacher = cosines(patches, 50)
    original = IBOTPatchLoss(50)
    targets = Center(50).targets(teacher, 0.04)
    assert_equal(
        lambda x: ibot_patch_loss(x, targets, mask, 0.1),
        lambda x: original(teacher, x, mask),
        cosines(patches, 50),
    )
    with pytest.raises(ValueError, match="do not fit a mask"):
        ibot_patch_loss(cosines(3, 50), cosines(3, 50), mask, 0.1)


def test_swavs_loss_equals_lightlys():
    views = 5
    original = SwaVLoss()

    def theirs(x: Tensor) -> Tensor:
        crops = list(x.chunk(views))
        return original(crops[:2], crops[2:])

    student = cosines(40, 50)
    codes = [swav_sinkhorn(view) for view in student.chunk(views)[:2]]
    assert_equal(lambda x: swav_loss(x, codes, views), theirs, student)
    for view, code in zip(student.chunk(views), codes, strict=False):
        torch.testing.assert_close(sinkhorn_targets(view, 0.05), code, rtol=1e-4, atol=1e-6)


def plain_carp(student: list[Tensor], teacher: list[Tensor], partition: Tensor) -> Tensor:
    """CARP's loss as its paper and its authors' code have it, by loops over pairs and blocks."""
    consistency, pairs = 0, 0
    for j, targets in enumerate(teacher):
        for i, logits in enumerate(student):
            if i == j:
                continue
            pairs += 1
            for block in partition:
                p, q = logits[:, block].softmax(dim=1), targets[:, block].softmax(dim=1)
                consistency = consistency - (p * q).sum(dim=1).log().mean() / len(partition)
    spread = 0
    for block in partition:
        p = torch.cat([*student, *teacher])[:, block].softmax(dim=1).mean(dim=0)
        spread = spread + (math.log(len(block)) + (p * p.log()).sum()) / len(partition)
    return consistency / pairs + spread


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_carps_loss_equals_the_plain_one(temperature: float):
    teacher = cosines(16, 48)
    partition = random_partition(48, 12, torch.Generator().manual_seed(3))
    assert partition.flatten().sort().values.tolist() == list(range(48))
    assert_equal(
        lambda x: carp_loss(x, softmax_targets(teacher, temperature), 4, partition, temperature),
        lambda x: plain_carp((x / temperature).chunk(4), (teacher / temperature).chunk(2), partition),
        cosines(32, 48),
    )


def test_carp_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="48 prototypes cannot be divided into blocks of 7"):
        random_partition(48, 7, torch.Generator())
    partition = random_partition(48, 12, torch.Generator())
    with pytest.raises(ValueError, match="do not fit"):
        carp_loss(cosines(9, 48), cosines(8, 48), 2, partition)


@pytest.mark.parametrize("loss", ["dino", "carp", "swav"])
def test_losses_take_the_plugins_targets(attach: Attach, loss: str):
    balance = "none" if loss == "carp" else "sinkhorn"
    attach(targets={"balance": balance, "temperature": 0.05})
    student, teacher = with_teacher(lightly_head())
    optimizer = torch.optim.AdamW(student.parameters(), 1e-2)
    for step in range(3):
        views = [torch.randn(16, IN) for _ in range(4)]
        rows = []
        with torch.no_grad():
            for view in views[:2]:
                teacher(view)
                rows.append(F.normalize(teacher.layers(view), dim=-1))
        out = [student(view) for view in views]
        before = mixhead.prototypes()
        targets = mixhead.targets()
        assert torch.equal(mixhead.prototypes(), before)
        if loss == "carp":
            partition = random_partition(K, 12, torch.Generator().manual_seed(step))
            value = carp_loss(out, targets, 4, partition)
        else:
            value = {"dino": dino_loss, "swav": swav_loss}[loss](out, targets, 4, temperature=0.1)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        after = mixture("default").save()[0]  # the M-step's prototypes, which the next step will see
        logits = torch.cat(rows) @ after.T
        expected = softmax_targets(logits, 0.05) if loss == "carp" else sinkhorn_targets(logits, 0.05)
        torch.testing.assert_close(targets, expected, rtol=1e-3, atol=1e-5)


def test_ibots_patch_loss_takes_the_targets_of_a_mixture_over_patches(attach: Attach):
    attach("patches", targets={})
    student, teacher = with_teacher(lightly_head(name="patches"))
    tokens, mask = torch.randn(4, 3, 3, IN), torch.rand(4, 3, 3) > 0.4
    teacher(tokens[mask])
    logits = student(tokens[mask])
    loss = ibot_patch_loss(logits, mixhead.targets("patches"), mask, 0.1)
    loss.backward()
    assert loss.isfinite() and student.layers[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("criterion", [MSNLoss(), PMSNLoss()], ids=["msn", "pmsn"])
def test_lightlys_msn_losses_take_the_prototypes_as_an_argument(attach: Attach, criterion: torch.nn.Module):
    attach(plugin={"components": 20})
    anchor = torch.nn.Linear(IN, DIM)
    target = mixhead.teacher(torch.nn.Linear(IN, DIM).requires_grad_(False))
    seen = []
    for _ in range(3):
        targets = target(torch.randn(16, IN))
        prototypes = mixhead.prototypes()
        assert prototypes.shape == (20, DIM) and not prototypes.requires_grad
        loss = criterion(anchor(torch.randn(32, IN)), targets, prototypes=prototypes)
        loss.backward()
        assert loss.isfinite() and anchor.weight.grad.isfinite().all()
        mixhead.step()
        seen.append(prototypes)
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
