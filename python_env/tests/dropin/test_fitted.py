"""A head that starts from a fitted mixture: it goes on with it, and refuses what does not fit."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mixhead
from mixhead.bridge import BridgeError
from mixhead.lightly import DINOProjectionHead

from .heads import DIM, IN, K, lightly_head, with_teacher

ROOT = Path(__file__).parents[3]
Attach = Callable[..., None]


def fit(folder: Path, *settings: str) -> Path:
    """A mixture fitted to rows of a few clusters."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(6, DIM))[generator.integers(0, 6, 2000)]
    np.save(folder / "rows.npy", (rows + 0.2 * generator.normal(size=rows.shape)).astype(np.float32))
    out = folder / "fitted"
    command = ["node", "bin/mixhead.mjs", "fit", folder / "rows.npy", "--out", out, f"plugin.components={K}"]
    subprocess.run([*command, "backend=wasm", *settings], cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("fit"))


def take_a_step(student: torch.nn.Module, teacher: torch.nn.Module) -> None:
    x = torch.randn(1, IN, generator=torch.Generator().manual_seed(0))
    teacher(x)
    student(x)
    teacher(x)


@pytest.mark.parametrize("connected", [False, True])
def test_continues_with_the_whole_fitted_mixture(attach: Attach, fitted: Path, connected: bool):
    attach()
    student, teacher = with_teacher(lightly_head())
    if connected:
        mixhead.prototypes()
    mixhead.start_from(fitted)
    before = mixhead.prototypes()
    assert torch.equal(before, load_file(fitted / "mixture.safetensors")["prototypes"])
    take_a_step(student, teacher)
    # One row moves the components that are near it; the prior does not pull the others to random directions.
    moved = 1 - (mixhead.prototypes() * before).sum(dim=1)
    assert moved.max() > 1e-4
    assert moved.median() < 1e-6


def test_the_checkpoint_of_a_head_that_starts_holds_the_fitted_state(attach: Attach, fitted: Path):
    attach()
    student = lightly_head()
    mixhead.start_from(fitted)
    student(torch.randn(4, IN))  # the plugin has it now
    state = student.state_dict()
    assert state.pop("last_layer.mixture.step") == 0
    saved = load_file(fitted / "state.safetensors")
    del saved["plugin.means"]  # they follow from the rest, with the prior of the mixture that goes on
    saved["plugin.starts"] = saved["plugin.prototypes"]  # which pulls the components nowhere else
    for name, tensor in saved.items():
        torch.testing.assert_close(state[f"last_layer.mixture.{name}"], tensor, msg=name)


def test_refuses_a_mixture_of_another_size(attach: Attach, fitted: Path):
    attach()
    head = DINOProjectionHead(IN, 16, DIM, K + 2, prototypes="online-gmm")
    with pytest.raises(
        ValueError, match=f"holds {K} prototypes of dimension {DIM}, .* have {K + 2} of {DIM}"
    ):
        mixhead.start_from(fitted)
    assert mixhead.prototypes().shape == head.last_layer.weight.shape


def test_refuses_a_folder_without_a_fit_and_a_mixture_without_heads(
    attach: Attach, fitted: Path, tmp_path: Path
):
    attach()
    with pytest.raises(ValueError, match='mixture "default" has no heads yet'):
        mixhead.start_from(fitted)
    head = lightly_head()
    with pytest.raises(FileNotFoundError, match=r"mixture\.safetensors does not exist: give the folder"):
        mixhead.start_from(tmp_path)
    (tmp_path / "mixture.safetensors").write_text("a page")
    with pytest.raises(ValueError, match=r"mixture\.safetensors is not a safetensors file"):
        mixhead.start_from(tmp_path)
    assert mixhead.prototypes().shape == head.last_layer.weight.shape


def test_a_fit_with_another_prior_can_be_continued(attach: Attach, fitted: Path):
    attach(plugin={"prior": {"strength": 0}})
    student, teacher = with_teacher(lightly_head())
    mixhead.start_from(fitted)
    before = mixhead.prototypes()
    take_a_step(student, teacher)
    # Without the fit's prior of ten each mean is the data's own.
    assert (mixhead.prototypes() * before).sum(dim=1).median() > 0.999


def test_a_fit_of_other_settings_is_refused_at_the_first_use(attach: Attach, fitted: Path):
    attach(plugin={"covariance": "diagonal"})
    head = lightly_head()
    mixhead.start_from(fitted)
    with pytest.raises(BridgeError, match="the saved state has no squares, which online-gmm needs"):
        head(torch.randn(4, IN))


def test_a_script_whose_start_is_refused_ends_with_the_reason(fitted: Path):
    script = f"""
import mixhead, torch
from mixhead.lightly import DINOProjectionHead
mixhead.attach(config={{"backend": "wasm", "plugin": {{"covariance": "diagonal"}}}})
head = DINOProjectionHead({IN}, 16, {DIM}, {K}, prototypes="online-gmm")
mixhead.start_from({str(fitted)!r})
head(torch.randn(4, {IN}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the saved state has no squares, which online-gmm needs" in done.stderr.splitlines()[-1]
