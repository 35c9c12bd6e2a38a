"""The examples: how little the drop-in head changes of a script, and that they run."""

import difflib
import multiprocessing
import os
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ["lightly_dino", "meta_dino", "lightning_dino"]
REFERENCES = 200

# What takes seconds to import is imported once; each run has a process of its own all the same.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["lightly.loss", "lightly.models.modules", "pytorch_lightning"])


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
    os.environ.pop("MIXHEAD_ENDPOINT", None)
    sys.argv = [script, "--steps", "3", "--batch", "16", "--references", str(REFERENCES), *options]
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


def figures(output: str) -> list[str]:
    """What the same arithmetic prints again: all but the times."""
    return [line for line in output.splitlines() if re.match("loss|unique|used|k-NN", line)]


@pytest.mark.parametrize("name", NAMES)
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


def test_joint_prototypes_train_in_the_manner_of_metas_scripts(data: Path) -> None:
    assert len(figures(run("meta_dino_plain.py", data))) == 4
    assert len(figures(run("meta_dino.py", data, "--prototypes", "joint"))) == 4


@pytest.mark.parametrize("name", NAMES)
def test_balances_the_targets_where_it_is_asked_to(name: str, data: Path) -> None:
    centered, balanced = (figures(run(f"{name}.py", data, "--loss", loss)) for loss in ("center", "sinkhorn"))
    assert centered[0].startswith("loss") and centered[0] != balanced[0]


@pytest.mark.parametrize("name", NAMES)
def test_trains_with_the_prototypes_of_a_mixture(name: str, data: Path) -> None:
    output = run(f"{name}.py", data, "--prototypes", "online-gmm", "--norm", "batch")
    assert len(figures(output)) == 4
    assert re.search(r"mixhead\.stats\(\)  .*'entropy': \d", output)


@pytest.mark.parametrize("start", ["fitted", "empty", "joint"])
def test_trains_on_from_a_backbone_without_a_head(start: str, data: Path) -> None:
    options = ("--start", start, "--components", "32", "--fit-batches", "4", "--every", "3")
    output = run("continue_from_backbone.py", data, *options)
    assert re.search(r"^as released  k-NN \d", output)
    assert re.search(r"^step    3 .*loss \d", output, re.MULTILINE)
