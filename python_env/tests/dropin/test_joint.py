"""With prototypes="joint" the heads are the originals, bit for bit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from lightly.models.modules.heads import DINOProjectionHead as LightlyHead
from lightly.models.utils import _no_grad_trunc_normal
from torch import Tensor, nn

from mixhead.dino import DINOHead
from mixhead.lightly import DINOProjectionHead


class MetaHead(nn.Module):
    """facebookresearch/dino's head, written anew from what it does."""

    def __init__(
        self,
        in_dim,
        out_dim,
        use_bn=False,
        norm_last_layer=True,
        nlayers=3,
        hidden_dim=2048,
        bottleneck_dim=256,
    ):
        super().__init__()
        widths = [in_dim] + [hidden_dim] * (nlayers - 1)
        layers = []
        for i in range(nlayers - 1):
            layers += [
                nn.Linear(widths[i], hidden_dim),
                *([nn.BatchNorm1d(hidden_dim)] if use_bn else []),
                nn.GELU(),
            ]
        layers.append(nn.Linear(widths[-1], bottleneck_dim))
        self.mlp = nn.Sequential(*layers) if nlayers > 1 else layers[0]
        for module in self.mlp.modules():
            if isinstance(module, nn.Linear):
                _no_grad_trunc_normal(module.weight, 0, 0.02, -2, 2)  # dino's utils have a copy of it
                nn.init.zeros_(module.bias)
        self.last_layer = nn.utils.weight_norm(nn.Linear(bottleneck_dim, out_dim, bias=False))
        self.last_layer.weight_g.data.fill_(1)
        if norm_last_layer:
            self.last_layer.weight_g.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1, p=2))


LIGHTLY = [
    {},
    {"batch_norm": True},
    {"norm_last_layer": False},
    {"freeze_last_layer": 1},
]
META = [{}, {"use_bn": True}, {"norm_last_layer": False}, {"nlayers": 1}, {"nlayers": 2}]
CASES = [
    *[(LightlyHead, DINOProjectionHead, (24, 48, 16, 40), options) for options in LIGHTLY],
    *[
        (MetaHead, DINOHead, (24, 40), {"hidden_dim": 48, "bottleneck_dim": 16, **options})
        for options in META
    ],
]


def seeded(make, *args, **options):
    torch.manual_seed(3)
    return make(*args, **options)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[1].__name__}-{case[3]}")
def heads(request) -> tuple[nn.Module, nn.Module]:
    original, ours, args, options = request.param
    return seeded(original, *args, **options), seeded(ours, *args, **options, prototypes="joint")


def test_starts_with_the_originals_parameters_in_their_order(heads):
    original, ours = heads
    expected, got = list(original.named_parameters()), list(ours.named_parameters())
    assert [name for name, _ in got] == [name for name, _ in expected]
    for (name, parameter), (_, reference) in zip(got, expected, strict=True):
        assert torch.equal(parameter, reference), name
        assert parameter.requires_grad == reference.requires_grad, name


def test_outputs_gradients_and_running_statistics_are_equal_bit_for_bit(heads):
    features, weights = torch.randn(16, 24), torch.randn(16, 40)
    for head in heads:
        (head(features) * weights).sum().backward()
    original, ours = heads
    assert torch.equal(ours(features), original(features))
    for (name, parameter), reference in zip(ours.named_parameters(), original.parameters(), strict=True):
        if parameter.requires_grad:
            assert torch.equal(parameter.grad, reference.grad), name
    for buffer, reference in zip(ours.buffers(), original.buffers(), strict=True):
        assert torch.equal(buffer, reference)


def test_weights_go_both_ways(heads):
    original, ours = heads
    nn.init.normal_(ours.last_layer.weight_v)
    original.load_state_dict(ours.state_dict())
    features = torch.randn(5, 24)
    assert torch.equal(ours.eval()(features), original.eval()(features))
    nn.init.normal_(original.last_layer.weight_v)
    ours.load_state_dict(original.state_dict())
    assert torch.equal(ours(features), original(features))


def test_training_is_unchanged(heads):
    optimizers = [
        torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], 1e-2) for head in heads
    ]
    for step in range(3):
        torch.manual_seed(step)
        features, weights = torch.randn(16, 24), torch.randn(16, 40)
        for head, optimizer in zip(heads, optimizers, strict=True):
            optimizer.zero_grad()
            (head(features) * weights).sum().backward()
            optimizer.step()
    original, ours = (head.state_dict() for head in heads)
    assert all(torch.equal(tensor, original[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_give_what_the_original_gives(heads, dtype):
    features = torch.randn(16, 24)
    with torch.autocast("cpu", dtype=dtype):
        expected, got = (head(features) for head in heads)
    assert got.dtype == expected.dtype and torch.equal(got, expected)
    expected, got = (head.to(dtype)(features.to(dtype)) for head in heads)
    assert got.dtype == expected.dtype and torch.equal(got, expected)


def test_can_be_copied_after_a_forward_pass_and_compiled():
    head = DINOProjectionHead(24, 48, 16, 40)
    features = torch.randn(8, 24)
    head(features).sum().backward()
    copied = copy.deepcopy(head)
    assert torch.equal(copied(features), head(features))
    compiled = torch.compile(head, fullgraph=True, backend="eager")
    assert torch.equal(compiled(features), head(features))


def test_cancels_the_last_layers_gradients_as_lightly_does():
    for make in (LightlyHead, DINOProjectionHead):
        head = make(24, 48, 16, 40, freeze_last_layer=2)
        for epoch, cancelled in ((0, True), (1, True), (2, False)):
            head(torch.randn(8, 24)).sum().backward()
            head.cancel_last_layer_gradients(epoch)
            assert (head.last_layer.weight_v.grad is None) == cancelled


def test_a_norm_opens_the_cone_and_has_no_parameters():
    for make, args in ((DINOProjectionHead, (24, 48, 16, 40)), (DINOHead, (24, 40, False, True, 3, 48, 16))):
        plain, normed = seeded(make, *args), seeded(make, *args, norm="batch")
        assert len(list(normed.parameters())) == len(list(plain.parameters()))
        features = torch.randn(256, 24) * 0.01 + torch.randn(24)
        mlp = normed.layers if isinstance(normed, DINOProjectionHead) else normed.mlp
        torch.testing.assert_close(
            normed(features), normed.last_layer(F.normalize(normed.norm(mlp(features)), dim=-1))
        )
        means = [
            F.normalize(x, dim=-1).mean(dim=0).norm() for x in (mlp(features), normed.norm(mlp(features)))
        ]
        assert means[0] > 0.95 and means[1] < 0.1


def test_unknown_words_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match='prototypes is \'gmm\'; allowed: "joint", "online-gmm"'):
        DINOHead(24, 40, prototypes="gmm")
    with pytest.raises(ValueError, match="norm is 'layer'; allowed"):
        DINOProjectionHead(24, 48, 16, 40, norm="layer")
