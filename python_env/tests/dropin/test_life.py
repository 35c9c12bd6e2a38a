"""The plugin's life: found, started, ended with the script that started it, and lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import mixhead
from mixhead.bridge import PeerLost, Rejected
from mixhead.dropin import plugin_process
from mixhead.dropin.plugin_process import PluginMissing, PluginProcess

from .heads import IN, lightly_head, with_teacher

ROOT = Path(__file__).parents[2]

#: Starts a plugin, says its process, and does `{}`. Without torch, which takes seconds to load.
OWNER = """
import os, signal, time
from mixhead.dropin.plugin_process import start_plugin
print(start_plugin(("backend=wasm",))._process.pid, flush=True)
{}
"""

TRAINING = """
import torch
from mixhead.dropin.plugin_process import _started
from tests.dropin.heads import IN, lightly_head, meta_head, with_teacher
pairs = [with_teacher(lightly_head()), with_teacher(meta_head(name="other"))]
for _ in range(3):
    for student, teacher in pairs:
        teacher(torch.randn(8, IN))
        student(torch.randn(8, IN))
print(*[plugin._process.pid for plugin in _started.values()])
"""


def start_script(script: str, **env: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MIXHEAD_ENDPOINT": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_ends(pid: int, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while runs(pid):
        assert time.monotonic() < until, "the plugin outlived its script"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("raise KeyError('of the script')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        (
            "if os.fork() == 0:\n    os.close(1), os.close(2), time.sleep(30), os._exit(0)\n"
            "os.kill(os.getpid(), signal.SIGKILL)",
            -signal.SIGKILL,
        ),
    ],
    ids=["exception", "sigkill", "sigkill, and a fork that outlives it"],
)
def test_a_plugin_ends_with_the_script_that_started_it(end: str, status: int):
    script = start_script(OWNER.format(end))
    out, err = script.communicate(timeout=60)
    assert script.returncode == status, err
    assert_ends(int(out))


def test_a_training_starts_one_plugin_for_its_mixtures_and_takes_it_along():
    script = start_script(TRAINING)
    out, err = script.communicate(timeout=60)
    assert script.returncode == 0 and err == "", err
    (plugin,) = out.split()
    assert_ends(int(plugin))


def test_a_training_may_start_before_the_plugin_that_the_environment_names(tmp_path: Path):
    endpoint = f"ipc://{tmp_path}/late"
    script = start_script(TRAINING, MIXHEAD_ENDPOINT=endpoint)
    time.sleep(1)
    plugin = PluginProcess(("--endpoint", endpoint, "backend=wasm"))
    out, err = script.communicate(timeout=60)
    assert script.returncode == 0 and out.strip() == "", err
    assert plugin.running()
    plugin.stop()
    assert not plugin.running()


def test_a_plugin_that_dies_is_reported_in_one_sentence():
    plugin = PluginProcess(("backend=wasm",))
    mixhead.attach(plugin.endpoint)
    student, teacher = with_teacher(lightly_head())
    teacher(torch.randn(8, IN))
    plugin._process.send_signal(signal.SIGKILL)
    plugin._process.wait()
    with pytest.raises(PeerLost, match=f"the plugin at {plugin.endpoint}"):
        for _ in range(2):
            student(torch.randn(8, IN))
            teacher(torch.randn(8, IN))


def test_a_started_plugins_refusal_reaches_the_script_in_its_own_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MIXHEAD_ENDPOINT", raising=False)
    mixhead.attach(config={"backend": "abacus"})
    with pytest.raises(PluginMissing, match='did not start: mixhead: settings: backend is "abacus"'):
        lightly_head()(torch.randn(2, IN))


def test_a_configuration_file_is_for_a_plugin_that_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("MIXHEAD_ENDPOINT", raising=False)
    file = tmp_path / "mixture.yaml"
    file.write_text("plugin: {components: 7}\nbackend: wasm\n")
    mixhead.attach(config=file)
    with pytest.raises(Rejected, match="48 prototypes; the configuration says 7"):
        lightly_head()(torch.randn(2, IN))


def test_without_sources_and_bundle_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    package = tmp_path / "python_env" / "mixhead"
    monkeypatch.setattr(mixhead, "__file__", str(package / "__init__.py"))
    with pytest.raises(PluginMissing, match=r"the plugin is not in .*mixhead: install mixhead"):
        plugin_process.plugin_command()
    bundle = package / "_plugin" / "mixhead.mjs"
    bundle.parent.mkdir(parents=True)
    bundle.touch()
    assert plugin_process.plugin_command()[1:] == [str(bundle)]
    sources = tmp_path / "src" / "cli" / "plugin.ts"
    sources.parent.mkdir(parents=True)
    sources.touch()
    with pytest.raises(PluginMissing, match="npm packages are not installed: run `npm start`"):
        plugin_process.plugin_command()
