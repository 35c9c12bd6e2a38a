"""The examples: how little the drop-in head changes of a script, and that they run."""

import difflib
import multiprocessing
import os
import re
import runpy
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ["lightly_dino", "meta_dino", "lightning_dino"]
STYLES = ["dinov2_style", "dinov3_style", "solo_dino"]  # scripts whose heads have the words, joint ones too
PROTOTYPES = ["nested_heads"]  # scripts with the layer alone
# Scripts that run in a project's own package. Set-up installs these under CI alone, since they are large.
PACKAGES = {"lightly_train_dino": "lightly_train", "stable_pretraining_dino": "stable_pretraining"}
PROJECTS = EXAMPLES.parent / "python_env" / ".projects"
REFERENCES = 200

# What takes seconds to import is imported once; each run has a process of its own all the same.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["lightly.loss", "lightly.models.modules", "pytorch_lightning", "timm"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CIFAR-10 of colours and noise, in the place of the one that has to be fetched."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "cifar10").mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 50_000), ("test", 10_000)):
        file = folder / "cifar10" / f"{part}.npy"
        images = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 3, 32, 32))
        # Each of one colour: no two alike, so that no batch is without a spread.
        images[:] = random.integers(0, 256, (count, 3, 1, 1), dtype=np.uint8)
        images[:REFERENCES] = random.integers(0, 256, (REFERENCES, 3, 32, 32), dtype=np.uint8)
        labels = random.integers(0, 10, count).tolist()
        (folder / "cifar10" / f"{part}_lables.json").write_text(str(labels))
    return folder


def perform(script: str, options: tuple[str, ...], data: Path, output: Path) -> None:
    os.environ["MIXHEAD_DATA"] = str(data)
    os.chdir(data)  # where some of them write logs
    os.environ.pop("MIXHEAD_ENDPOINT", None)
    os.environ["LIGHTLY_TRAIN_EVENTS_DISABLED"] = "1"  # a test tells nobody that it ran
    sys.argv = [script, "--steps", "3", "--batch", "16", "--references", str(REFERENCES), *options]
    if script.removesuffix(".py").removesuffix("_plain") in PACKAGES:
        sys.path.append(str(PROJECTS))
    sys.path.insert(0, str(EXAMPLES))
    with output.open("w") as file, redirect_stdout(file):
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def run(script: str, data: Path, *options: str) -> str:
    """What the script prints."""
    output = data / "output.txt"
    process = context.Process(target=perform, args=(script, options, data, output))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    return output.read_text()


def mixtures(output: str) -> list[str]:
    """The names of the mixtures that have had a step."""
    return re.findall(r'^mixture "(.*)"  .*\'entropy\': \d', output, re.MULTILINE)


def figures(output: str) -> list[str]:
    """What the same arithmetic prints again: all but the times."""
    return [line for line in output.splitlines() if re.match("loss|unique|used|k-NN", line)]


@pytest.mark.parametrize("name", [*NAMES, *STYLES, *PROTOTYPES, *PACKAGES])
def test_differs_from_the_script_without_mixhead_in_three_lines_at_most(name: str) -> None:
    plain, ours = ((EXAMPLES / f"{name}{end}.py").read_text().splitlines() for end in ("_plain", ""))
    changes = [line for line in difflib.ndiff(plain, ours) if line[0] in "+-"]
    removed, added = (sum(line[0] == sign for line in changes) for sign in "-+")
    assert 0 < added <= 3
    assert removed <= added


@pytest.mark.parametrize("name", ["lightly_dino", "lightning_dino"])
def test_joint_prototypes_train_as_the_script_without_mixhead_does(name: str, data: Path) -> None:
    plain = figures(run(f"{name}_plain.py", data))
    assert len(plain) == 4
    assert figures(run(f"{name}.py", data, "--prototypes", "joint")) == plain


@pytest.mark.parametrize("name", ["meta_dino", *STYLES])
def test_joint_prototypes_train_in_the_manner_of_other_scripts(name: str, data: Path) -> None:
    assert len(figures(run(f"{name}_plain.py", data))) == 4
    assert len(figures(run(f"{name}.py", data, "--prototypes", "joint"))) == 4


@pytest.mark.parametrize("name", [*NAMES, "solo_dino"])
def test_balances_the_targets_if_it_is_asked_to(name: str, data: Path) -> None:
    centered, balanced = (figures(run(f"{name}.py", data, "--loss", loss)) for loss in ("center", "sinkhorn"))
    assert centered[0].startswith("loss") and centered[0] != balanced[0]


@pytest.mark.parametrize("name", [*NAMES, *STYLES])
def test_trains_with_the_prototypes_of_a_mixture(name: str, data: Path) -> None:
    output = run(f"{name}.py", data, "--prototypes", "online-gmm", "--norm", "batch", "--dim", "256")
    assert len(figures(output)) == 4
    assert "prototypes 1024 x 256" in output
    assert mixtures(output) == (["default", "patches"] if name.startswith("dinov") else ["default"])


@pytest.mark.parametrize("name", PROTOTYPES)
def test_trains_with_several_mixtures_of_different_sizes(name: str, data: Path) -> None:
    assert len(figures(run(f"{name}_plain.py", data))) == 4
    output = run(f"{name}.py", data, "--dim", "256")
    assert len(figures(output)) == 4
    assert "prototypes 1024 x 256" in output
    assert mixtures(output) == ["of 32", "of 64", "of 128"]


@pytest.mark.parametrize("name", PACKAGES)
def test_trains_in_the_projects_own_package(name: str, data: Path) -> None:
    if not (PROJECTS / PACKAGES[name]).is_dir() and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed (1.2 GB): `CI=true npm run setup` brings it")
    options = ["--prototypes", "online-gmm", "--norm", "batch"] if name.startswith("lightly") else []
    assert "k-NN" in run(f"{name}_plain.py", data)
    output = run(f"{name}.py", data, *options)
    assert "k-NN" in output
    assert mixtures(output) == ["default"]


@pytest.mark.parametrize("start", ["fitted", "empty", "joint"])
def test_trains_on_from_a_backbone_without_a_head(start: str, data: Path) -> None:
    options = ("--start", start, "--components", "32", "--fit-batches", "4", "--every", "3")
    output = run("continue_from_backbone.py", data, *options)
    assert re.search(r"^as released  k-NN \d", output)
    assert re.search(r"^step    3 .*loss \d", output, re.MULTILINE)
