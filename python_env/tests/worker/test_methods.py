"""Each method's loss as a step computes it, held to the original where one exists."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss, MSNLoss, PMSNLoss, SwaVLoss
from torch import Tensor

from mixhead.losses import (
    carp_loss,
    fixed_partition,
    koleo_loss,
    random_partition,
    sinkhorn_targets,
    softmax_targets,
    targets_in_blocks,
)
from mixhead.worker import checkpoint
from mixhead.worker.encoders import build_encoder
from mixhead.worker.errors import WorkerError
from mixhead.worker.loop import draw_mask
from mixhead.worker.methods import METHODS, Batch, method_of
from mixhead.worker.methods.ibot import draw_mask as draw_blocks
from mixhead.worker.network import PatchNetwork, build_network
from mixhead.worker.patches import patch_grid, tokens
from mixhead.worker.randomness import generator
from mixhead.worker.state import State
from mixhead.worker.step import finish, student_rows, teacher_rows
from tests.worker.runs import BATCH, COMPONENTS, DIM, Reply, clock, config, reply
from tests.worker.test_step import PROTOTYPES, assert_same, begin, views_of

VIT = {"name": "vit-tiny-32"}


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def batch(
    method: str, views: tuple[int, int] = (2, 1), mask: Tensor | None = None, **changes: object
) -> Batch:
    """Random rows for a method, with targets that nothing balances."""
    hidden = 0 if mask is None else int(mask.sum())
    h, z = unit(views[0] * BATCH + hidden, DIM), unit(sum(views) * BATCH + hidden, DIM)
    prototypes = unit(COMPONENTS, DIM)

    def balanced(logits: Tensor) -> Tensor:
        return sinkhorn_targets(logits, 0.05)

    return Batch(
        config=config(method=method, views={"global": views[0], "local": views[1]}, **changes),
        step=5,
        h=h,
        z=z.requires_grad_(),
        prototypes=prototypes.requires_grad_(),
        targets=lambda: softmax_targets(h @ prototypes.T, 0.1),
        targets_in=lambda partition: targets_in_blocks(balanced, h @ prototypes.T, partition),
        balanced=balanced,
        temperature=0.1,
        teacher_temperature={"swav": 0.05, "msn": 0.025, "pmsn": 0.025}.get(method, 0.1),
        clock={"block": COMPONENTS // 8},
        mask=mask,
    )


def assert_equal(b: Batch, expected: Tensor) -> None:
    """The loss, and what it says to the student's rows and to the prototypes."""
    loss = method_of(b.config).loss(b)
    torch.testing.assert_close(loss, expected.squeeze(), rtol=1e-5, atol=1e-5)
    leaves = (b.z, b.prototypes)
    for ours, theirs in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected.squeeze(), leaves), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("views", [(2, 0), (2, 3), (1, 2)])
def test_joint_swav_is_lightlys(views: tuple[int, int]):
    b = batch("swav", views, prototypes="joint")
    outputs = list((b.z @ b.prototypes.T).chunk(sum(views)))
    assert_equal(b, SwaVLoss()(outputs[: views[0]], outputs[views[0] :]))


def test_decoupled_swav_predicts_the_plugins_codes():
    b = batch("swav")
    log_q = F.log_softmax(b.z @ b.prototypes.T / 0.1, dim=1).chunk(3)
    codes = b.targets().chunk(2)
    pairs = [-(codes[t] * log_q[s]).sum(dim=1).mean() for t in range(2) for s in range(3) if s != t]
    assert_equal(b, torch.stack(pairs).mean())


@pytest.mark.parametrize(("method", "original"), [("msn", MSNLoss), ("pmsn", PMSNLoss)])
def test_msn_and_pmsn_are_lightlys_as_they_are_by_default(method: str, original: type):
    one = batch(method, views=(1, 3))
    assert_equal(one, original()(one.z[BATCH:], one.h, one.prototypes))
    two = batch(method, views=(2, 1))
    first, second, third = two.z.chunk(3)
    swapped = [
        original()(torch.cat([second, third]), two.h[:BATCH], two.prototypes),
        original()(torch.cat([first, third]), two.h[BATCH:], two.prototypes),
    ]
    assert_equal(two, torch.stack(swapped).mean())
    plain = batch(method, views=(1, 3), targets={"balance": "none"})
    expected = original(sinkhorn_iterations=0)(plain.z[BATCH:], plain.h, plain.prototypes)
    assert_equal(plain, expected)


def test_carp_draws_another_partition_every_step_and_the_same_one_for_a_seed():
    b = batch("carp")
    partition = random_partition(COMPONENTS, COMPONENTS // 8, generator(3, "partition", 5))
    assert_equal(b, carp_loss(b.z @ b.prototypes.T, b.targets(), 3, partition, 0.1))
    other = random_partition(COMPONENTS, COMPONENTS // 8, generator(3, "partition", 6))
    assert not torch.equal(partition, other)


def test_carps_fixed_blocks_are_those_of_every_step():
    b = batch("carp", carp={"partition": "fixed"})
    partition = fixed_partition(COMPONENTS, COMPONENTS // 8)
    assert partition.tolist()[:2] == [[0, 1, 2], [3, 4, 5]]
    for step in (5, 6):
        expected = carp_loss(b.z @ b.prototypes.T, b.targets(), 3, partition, 0.1)
        assert_equal(dataclasses.replace(b, step=step), expected)


def test_carps_targets_can_be_balanced_in_each_block_by_itself():
    b = batch("carp", carp={"balance": "block"})
    partition = random_partition(COMPONENTS, COMPONENTS // 8, generator(3, "partition", 5))
    logits = (b.h @ b.prototypes.T).detach()
    targets = targets_in_blocks(b.balanced, logits, partition)
    for block in partition:
        torch.testing.assert_close(targets[:, block], sinkhorn_targets(logits[:, block], 0.05))
    assert_equal(b, carp_loss(b.z @ b.prototypes.T, targets, 3, partition, 0.1))


@pytest.mark.parametrize("block", [0, 1, 5])
@pytest.mark.parametrize("partition", ["step", "fixed"])
def test_carp_says_which_prototypes_it_cannot_part(block: int, partition: str):
    b = dataclasses.replace(batch("carp", carp={"partition": partition}), clock={"block": block})
    sentence = f"method carp: {COMPONENTS} prototypes cannot be divided into blocks of {block}"
    with pytest.raises(WorkerError, match=sentence):
        METHODS["carp"].loss(b)


def test_ibot_is_lightlys_dino_and_patch_loss():
    mask = torch.rand(2 * BATCH, 4, 4) < 0.3
    mask[3] = False
    b = batch("ibot", mask=mask)
    views, patches = (b.z @ b.prototypes.T).split([3 * BATCH, int(mask.sum())])
    teacher = (b.h @ b.prototypes.T).detach()
    # Their centres are 0 at the first call.
    between = DINOLoss(output_dim=COMPONENTS)(
        list(teacher[: 2 * BATCH].chunk(2)), list(views.chunk(3)), teacher_temp=0.1
    )
    within = IBOTPatchLoss(output_dim=COMPONENTS, teacher_temp=0.1)(teacher[2 * BATCH :], patches, mask)
    assert_equal(b, between + within)


def test_masks_are_blocks_of_a_tenth_to_a_half_of_every_second_view_and_a_function_of_seed_and_step():
    settings = config(method="ibot", encoder=VIT, train={"batch": 20})
    mask = draw_blocks(settings, (8, 8), 4)
    assert mask.shape == (40, 8, 8) and mask.dtype == torch.bool
    shares = mask.flatten(1).float().mean(dim=1)
    masked = shares[shares > 0]
    assert len(masked) == 20 and masked.max() <= 0.5 and masked.min() >= 4 / 64
    beside = (mask[:, 1:] & mask[:, :-1]).any(dim=(1, 2))
    assert beside[shares > 0].float().mean() > 0.8, "patches that lie together"
    assert torch.equal(mask, draw_blocks(settings, (8, 8), 4))
    assert not torch.equal(mask, draw_blocks(settings, (8, 8), 5))
    with pytest.raises(WorkerError, match="only 2 x 2"):
        draw_blocks(settings, (2, 2), 0)


def test_a_hidden_patch_is_not_seen_by_the_student_and_is_by_the_teacher():
    torch.manual_seed(0)
    encoder, width = build_encoder("vit-tiny-32")
    encoder.eval()
    assert patch_grid(encoder, 32) == (8, 8)
    images = torch.randn(3, 3, 32, 32)
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[0, 2, 5] = mask[2, 0, 0] = mask[2, 7, 7] = True
    changed = images.clone()
    changed[0, :, 8:12, 20:24] += 1
    token = torch.randn(width)
    with torch.no_grad():
        for hidden, same in ((token, True), (None, False)):
            before, after = (tokens(encoder, pixels, mask, hidden) for pixels in (images, changed))
            assert before[0].shape == (3, width) and before[1].shape == (3, width)
            assert torch.equal(before[0][0], after[0][0]) == same
            assert torch.equal(before[1][0], after[1][0]) == same
            assert torch.equal(before[1][1:], after[1][1:])
        assert torch.allclose(tokens(encoder, images, mask, None)[0], encoder(images), atol=1e-5)
        everything = torch.ones(3, 8, 8, dtype=torch.bool)
        of_all = tokens(encoder, images, everything, None)[1].view(3, 8, 8, width)
        assert torch.allclose(of_all[2, 7, 7], tokens(encoder, images, mask, None)[1][2], atol=1e-5)


def test_ibots_teacher_sees_all_patches_and_its_student_does_not():
    state = begin(method="ibot", encoder=VIT, head={"norm": "none"})
    views = views_of(state)
    mask = draw_mask(state.config, state.student, 0)
    hidden, masked = int(mask.sum()), mask.flatten(1).any(dim=1)
    h, z = teacher_rows(state, views[:1], mask), student_rows(state, views, mask)
    assert len(h) == 2 * BATCH + hidden and len(z) == 3 * BATCH + hidden
    torch.testing.assert_close(h[: 2 * BATCH], teacher_rows(state, views[:1]), rtol=0, atol=1e-5)
    same = (z[: 3 * BATCH] - student_rows(state, views)).abs().amax(dim=1) < 1e-5
    assert torch.equal(same, torch.cat([~masked, torch.ones(BATCH, dtype=torch.bool)]))


def test_ibot_needs_patches():
    with pytest.raises(WorkerError, match="vision transformer such as vit-tiny-32; conv-small is not one"):
        build_network(config(method="ibot"))


def take_step(state: State) -> None:
    views = views_of(state)
    mask = draw_mask(state.config, state.student, state.step)
    h, z = teacher_rows(state, views[:1], mask), student_rows(state, views, mask)
    decoupled = reply(state.step, h, PROTOTYPES) if state.mirror else Reply(clock(state.step))
    finish(state, h, z, decoupled, mask)


@pytest.mark.parametrize(
    "arm",
    [
        *({"method": method, "prototypes": "decoupled"} for method in ("carp", "swav", "msn", "pmsn")),
        {"method": "carp", "prototypes": "joint", "targets": {"balance": "none"}},
        {"method": "carp", "prototypes": "joint", "carp": {"balance": "block", "partition": "fixed"}},
        {"method": "swav", "prototypes": "joint"},
        {"method": "dino", "prototypes": "joint", "train": {"koleo": 0.1}},
        {"method": "ibot", "encoder": VIT, "prototypes": "decoupled"},
        {"method": "ibot", "encoder": VIT, "prototypes": "joint"},
    ],
)
def test_every_method_learns_and_resumes_bit_for_bit(arm: dict, tmp_path: Path):
    unbroken = begin(**arm)
    take_step(unbroken)
    folder = checkpoint.save(unbroken, tmp_path)
    resumed = begin(**arm)
    checkpoint.restore(resumed, folder)
    for state in (unbroken, resumed):
        take_step(state)
        assert math.isfinite(float(state.measured["loss"])) and float(state.measured["gradNorm"]) > 0
    assert_same(resumed, unbroken)
    if isinstance(unbroken.student, PatchNetwork):
        assert unbroken.student.mask_token.abs().sum() > 0, "the mask token is learned"


def test_koleo_is_lightlys_on_the_learned_prototypes():
    plain, spread = begin(prototypes="joint"), begin(prototypes="joint", train={"koleo": 0.5})
    # Past the clock's first steps, in which the prototypes are frozen.
    for _ in range(2):
        take_step(plain)
    checkpoint_of_plain = plain.student.state_dict()
    spread.student.load_state_dict(checkpoint_of_plain)
    spread.teacher.load_state_dict(plain.teacher.state_dict())
    plain.step = spread.step = 2
    weight = spread.student.head.last_layer.weight
    koleo = KoLeoLoss()(weight)
    (gradient,) = torch.autograd.grad(koleo, spread.student.head.last_layer.weight_v)
    unclipped = {"clip": 0}
    plain.config, spread.config = (
        config(prototypes="joint", train={**unclipped, "koleo": weight}) for weight in (0, 0.5)
    )
    take_step(plain)
    take_step(spread)
    torch.testing.assert_close(spread.measured["koleo"], koleo.detach(), rtol=0, atol=0)
    assert torch.equal(spread.measured["loss"], plain.measured["loss"]) and "koleo" not in plain.measured
    torch.testing.assert_close(
        spread.student.head.last_layer.weight_v.grad,
        plain.student.head.last_layer.weight_v.grad + 0.5 * gradient,
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("block", [1, 7, 40, 64])
def test_koleo_in_blocks_is_lightlys(block: int):
    rows = torch.randn(40, DIM)
    rows[11] = rows[30] * 2  # of one direction: the distance is 0
    left, right = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    ours, theirs = koleo_loss(left, block), KoLeoLoss()(right)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(left.grad, right.grad, rtol=1e-4, atol=1e-5)
