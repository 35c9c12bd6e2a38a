import copy

import pytest
import torch
from lightly.models.modules.heads import DINOProjectionHead

from mixhead.heads import JointHead, ProjectionHead


def pair() -> tuple[DINOProjectionHead, JointHead]:
    original = DINOProjectionHead(24, 48, 16, 40, batch_norm=False)
    ours = JointHead(24, 48, 16, 40, norm="none")
    ours.load_state_dict(original.state_dict())
    return original, ours


def test_joint_head_equals_lightly_forward_and_backward():
    original, ours = pair()
    features = torch.randn(32, 24)
    inputs = [features.clone().requires_grad_() for _ in range(2)]
    weights = torch.randn(32, 40)
    outputs = [head(x) for head, x in zip((original, ours), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-6)
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-5, atol=1e-6)
    theirs = dict(original.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.requires_grad == theirs[name].requires_grad, name
        if parameter.requires_grad:
            expected = theirs[name].grad
            tolerance = 1e-6 * expected.abs().max().item()
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=tolerance)


def test_joint_head_starts_as_lightly_does():
    original, _ = pair()
    fresh = JointHead(24, 48, 16, 40, norm="none").state_dict()
    for name, tensor in original.state_dict().items():
        assert fresh[name].shape == tensor.shape
        torch.testing.assert_close(fresh[name].std(), tensor.std(), rtol=0.15, atol=1e-6)
    assert torch.equal(fresh["last_layer.weight_g"], torch.ones(40, 1))


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_embeddings_are_float32_unit_rows_under_autocast(norm: str, dtype: torch.dtype):
    head = JointHead(24, 48, 16, 40, norm=norm)
    with torch.autocast("cpu", dtype=dtype):
        rows = head.embed(torch.randn(32, 24) * 50)
        logits = head(torch.randn(32, 24))
    assert rows.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(32))
    assert logits.abs().max() <= 1 + 1e-6


def test_batch_norm_opens_the_cone_of_embeddings():
    features = torch.randn(256, 24) * 0.01 + torch.randn(24)
    spread = {
        norm: 1 - ProjectionHead(24, 48, 16, norm)(features).mean(dim=0).norm() for norm in ("batch", "none")
    }
    assert spread["none"] < 0.05 and spread["batch"] > 0.9


def test_norm_has_no_parameters_and_an_unknown_one_is_refused():
    assert len(list(ProjectionHead(24, 48, 16, "batch").norm.parameters())) == 0
    with pytest.raises(ValueError, match="batch"):
        ProjectionHead(24, 48, 16, "layer")


def test_a_joint_head_can_be_copied_as_teachers_are_made():
    head = JointHead(24, 48, 16, 40)
    head(torch.randn(8, 24)).sum().backward()
    copied = copy.deepcopy(head).eval()
    features = torch.randn(8, 24)
    assert torch.equal(copied(features), head.eval()(features))


def test_patches_have_a_separate_norm_and_do_not_affect_images():
    torch.manual_seed(0)
    images, patches = torch.randn(12, 6), 5 + 3 * torch.randn(30, 6)
    together, alone, of_patches = (copy.deepcopy(head) for head in [ProjectionHead(6, 8, 4)] * 3)
    rows = together.embed(torch.cat([images, patches]), patches=30)
    torch.testing.assert_close(rows[:12], alone.embed(images))
    torch.testing.assert_close(rows[12:], of_patches.embed(patches))
    assert torch.equal(together.norm.running_mean, alone.norm.running_mean)
    assert torch.equal(together.norm.running_var, alone.norm.running_var)
    plain = ProjectionHead(6, 8, 4, norm="none")
    everything = torch.cat([images, patches])
    torch.testing.assert_close(plain.embed(everything, patches=30), plain.embed(everything))
