"""Joint, the heads of today's projects are the originals; with a mixture's prototypes they train."""

import copy
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from lightly.models.modules.heads import DINOv2ProjectionHead as LightlyDINOv2
from torch import Tensor, nn

import mixhead
import mixhead.dino
import mixhead.dinov2
import mixhead.dinov3
import mixhead.ibot
import mixhead.lightly
import mixhead.solo
from mixhead.dropin.registry import mixture

from . import originals

IN, HIDDEN, DIM, K = 24, 32, 16, 40
SIZES = {"hidden_dim": HIDDEN, "bottleneck_dim": DIM}

ORIGINALS = [
    (
        mixhead.dinov2.DINOHead,
        originals.DINOv2,
        {"out_dim": K},
        [{}, {"use_bn": True}, {"mlp_bias": False}, {"nlayers": 1}],
    ),
    (
        mixhead.dinov3.DINOHead,
        originals.DINOv3,
        {"out_dim": K},
        [{}, {"use_bn": True}, {"mlp_bias": False}, {"nlayers": 2}],
    ),
    (
        mixhead.solo.DINOHead,
        originals.Solo,
        {"num_prototypes": K},
        [{}, {"use_bn": False}, {"norm_last_layer": False}, {"num_layers": 1}],
    ),
    (
        mixhead.ibot.iBOTHead,
        originals.IBOT,
        {"out_dim": K, "patch_out_dim": 56},
        [
            {},
            {"norm": "bn"},
            {"norm": "ln", "act": "relu"},
            {"shared_head": True},
            {"norm_last_layer": False},
            {"last_norm": "bn"},
        ],
    ),
]
CASES = [
    pytest.param(ours, theirs, {"in_dim": IN, **sizes, **SIZES, **more}, id=f"{ours.__module__}-{more}")
    for ours, theirs, sizes, variants in ORIGINALS
    for more in variants
] + [
    pytest.param(
        mixhead.lightly.DINOv2ProjectionHead,
        LightlyDINOv2,
        {"input_dim": IN, "output_dim": K, **SIZES, **more},
        id=f"lightly-{more}",
    )
    for more in ({}, {"batch_norm": True})
]


def seeded(make: Callable[..., nn.Module], **options: object) -> nn.Module:
    torch.manual_seed(3)
    head = make(**options)
    if hasattr(head, "init_weights"):
        head.init_weights()
    return head


@pytest.mark.parametrize(("make", "original", "options"), CASES)
def test_starts_as_the_original_and_trains_as_it_bit_for_bit(make, original, options):
    ours, theirs = seeded(make, **options), seeded(original, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in theirs.parameters()]
    for head in (ours, theirs):
        head.optimizer = torch.optim.SGD(head.parameters(), 0.1)
    for step in range(3):
        x = torch.randn(6, IN, generator=torch.Generator().manual_seed(step))
        outputs = [head(x) for head in (ours, theirs)]
        assert torch.equal(*outputs)
        for head, output in zip((ours, theirs), outputs, strict=True):
            head.optimizer.zero_grad()
            output.square().sum().backward()
            head.optimizer.step()
    for one, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("shared", [False, True])
def test_ibots_head_gives_class_and_patch_tokens_apart(shared: bool):
    options = dict(in_dim=IN, out_dim=K, patch_out_dim=56, shared_head=shared, **SIZES)
    ours, theirs = seeded(mixhead.ibot.iBOTHead, **options), seeded(originals.IBOT, **options)
    x = torch.randn(3, 5, IN)
    for one, other in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(one, other)


def test_dinov3s_two_halves_make_the_whole_and_half_precision_is_its_own():
    ours, theirs = (
        seeded(make, in_dim=IN, out_dim=K, **SIZES) for make in (mixhead.dinov3.DINOHead, originals.DINOv3)
    )
    x = torch.randn(7, IN)
    rows = ours(x, no_last_layer=True)
    assert torch.equal(rows, theirs(x, no_last_layer=True))
    assert torch.equal(ours(rows, only_last_layer=True), ours(x))
    assert torch.equal(ours.half()(x.half()), theirs.half()(x.half()))


OF_LIGHTLY = (mixhead.lightly.DINOv2ProjectionHead, {"input_dim": IN, "output_dim": K, **SIZES})
DECOUPLED = [(make, {**sizes, "in_dim": IN, **SIZES}) for make, _, sizes, _ in ORIGINALS] + [OF_LIGHTLY]


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize(("make", "options"), DECOUPLED, ids=lambda each: getattr(each, "__module__", ""))
def test_with_a_mixture_they_train_and_their_checkpoint_fits_the_joint_head(
    attach: Callable[..., None], make, options, norm
):
    names = ["default"] if make is not mixhead.ibot.iBOTHead else ["default", "default-patches"]
    for name in names:
        attach(name)
    student = make(**options, norm=norm, prototypes="online-gmm")
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    shape = (4, 3, IN) if len(names) == 2 else (12, IN)

    def sum_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
        return sum(each.square().sum() for each in (output if isinstance(output, tuple) else (output,)))

    for _ in range(4):
        with torch.no_grad():
            teacher(torch.randn(shape))
        optimizer.zero_grad()
        sum_of(student(torch.randn(shape))).backward()
        optimizer.step()
    for name in names:
        assert mixture(name).save()[1].step == 4
    joint = make(**options)
    keys = {key for key in student.state_dict() if "mixture." not in key and not key.startswith("norm.")}
    assert keys == set(joint.state_dict())
    joint.load_state_dict({key: student.state_dict()[key] for key in keys})
    resumed = make(**options, norm=norm, prototypes="online-gmm", name="from-joint")
    with pytest.warns(UserWarning) if make is mixhead.dinov3.DINOHead else nullcontext():
        resumed.load_state_dict(make(**options).state_dict())


def test_a_layer_by_itself_takes_the_place_of_a_last_linear_layer(attach: Callable[..., None]):
    """As in stable-pretraining: a projector that ends in a linear layer, copied, frozen, averaged."""
    attach()
    student = nn.Sequential(nn.Linear(IN, DIM), nn.GELU(), nn.Linear(DIM, DIM), mixhead.Prototypes(DIM, K))
    teacher = copy.deepcopy(student).requires_grad_(False)
    for _ in range(3):
        x = torch.randn(9, IN)
        with torch.no_grad():
            teacher(x)
        logits = student(x)
        logits.square().sum().backward()
        for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
            ours.data.lerp_(theirs.data, 0.1)
    assert mixture("default").save()[1].step == 3
    rows = student[:3](x)
    expected = torch.nn.functional.normalize(rows, dim=1) @ mixhead.prototypes().T
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    plain = nn.Linear(DIM, K, bias=False)
    plain.load_state_dict({"weight": student.state_dict()["3.weight"]})


def test_a_common_length_scales_the_cosines_and_the_weight(attach: Callable[..., None]):
    attach()
    layer = mixhead.Prototypes(DIM, K, scale=0.3)
    x = torch.randn(5, DIM)
    torch.testing.assert_close(
        layer(x), 0.3 * torch.nn.functional.normalize(x, dim=1) @ mixhead.prototypes().T
    )
    torch.testing.assert_close(layer.state_dict()["weight"].norm(dim=1), torch.full((K,), 0.3))
    with pytest.raises(ValueError, match="scale is 0; allowed: a finite number above 0, or None"):
        mixhead.Prototypes(DIM, K, scale=0)


def test_dinov2s_order_in_dinos_head_is_one_sentence():
    with pytest.raises(ValueError, match=r"norm_last_layer is 3; .* use mixhead\.dinov2\.DINOHead"):
        mixhead.dino.DINOHead(32, 64, False, 3, 128, 16)


def test_a_last_layer_of_free_length_is_a_start_and_its_length_is_reported(attach: Callable[..., None]):
    attach()
    joint = seeded(mixhead.dinov3.DINOHead, in_dim=IN, out_dim=K, **SIZES)
    head = mixhead.dinov3.DINOHead(IN, K, **SIZES, prototypes="online-gmm")
    with pytest.warns(UserWarning, match=r"has rows of length 0\.\d+ \(median\).*give scale=0\.\d+"):
        head.load_state_dict(joint.state_dict())
    expected = torch.nn.functional.normalize(joint.last_layer.weight.detach(), dim=1)
    torch.testing.assert_close(mixhead.prototypes(), expected)


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_fsdp_wrapped_module"])
@pytest.mark.parametrize("prototypes", ["joint", "online-gmm"])
def test_names_that_wrappers_add_to_a_last_layer_are_read(attach: Callable[..., None], prototypes, wrapper):
    attach()
    joint = seeded(mixhead.dinov2.DINOHead, in_dim=IN, out_dim=K, **SIZES)
    state = {
        key.replace("last_layer.", f"last_layer.{wrapper}."): value
        for key, value in joint.state_dict().items()
    }
    head = mixhead.dinov2.DINOHead(IN, K, **SIZES, prototypes=prototypes)
    head.load_state_dict(state)
    expected = torch.nn.functional.normalize(joint.last_layer.weight.detach(), dim=1)
    torch.testing.assert_close(head.last_layer.weight.detach(), expected)


def test_a_head_can_start_on_the_meta_device_and_be_filled_with_anything(attach: Callable[..., None]):
    attach()
    with torch.device("meta"):
        student = mixhead.dinov3.DINOHead(IN, K, **SIZES, prototypes="online-gmm", norm="batch")
        teacher = mixhead.dinov3.DINOHead(IN, K, **SIZES, prototypes="online-gmm", norm="batch")
    keys = list(student.state_dict())
    for head in (student, teacher):
        head.to_empty(device="cpu")
        for tensor in (*head.parameters(), *head.buffers()):
            tensor.data.fill_(torch.nan if tensor.is_floating_point() else -1)
    student.init_weights()
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    for _ in range(2):
        with torch.no_grad():
            teacher(torch.randn(8, IN))
        assert student(torch.randn(8, IN)).isfinite().all()
    assert list(student.state_dict()) == keys
    assert student.eval()(torch.randn(1, IN)).isfinite().all()


def test_running_statistics_that_are_not_finite_are_replaced_by_the_next_batchs():
    norm = mixhead.dropin.norm.EmbeddingNorm(DIM)
    for buffer in (norm.running_mean, norm.running_var):
        buffer.fill_(torch.nan)
    x = torch.randn(64, DIM) + 3
    assert norm.eval()(x).equal(norm(x)) and norm(x).isfinite().all()
    norm.train()(x)
    torch.testing.assert_close(norm.running_mean, x.mean(dim=0))
    torch.testing.assert_close(norm.running_var, x.var(dim=0))
