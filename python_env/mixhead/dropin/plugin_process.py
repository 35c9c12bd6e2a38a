"""Finding, starting and ending the plugin: a Node process that ends with this one, however that ends."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import mixhead

NEEDED_NODE = (20, 19)
_START_DEADLINE = 60.0  # seconds
_END_DEADLINE = 5.0


class PluginMissing(RuntimeError):
    """The plugin cannot be started here."""


class PluginProcess:
    """A running plugin, and the end of its standard input that keeps it running."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  as long-lived as the process
        self._pid = os.getpid()
        command = [*plugin_command(), "serve", "--owned", "--json", *arguments]
        # A session of its own: Ctrl-C is for the script, which may still want to save the mixture.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )
        self.endpoint = self._announced()

    def _announced(self) -> str:
        """The endpoint, which is the first line that the plugin writes."""
        until = time.monotonic() + _START_DEADLINE
        line = b""
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self.stop()
                raise PluginMissing(
                    f"the plugin did not start within {_START_DEADLINE:g} s{self.last_words()}"
                )
            read = os.read(self._process.stdout.fileno(), 4096)
            if not read:
                self.stop()
                raise PluginMissing(f"the plugin did not start{self.last_words()}")
            line += read
        return json.loads(line)["endpoint"]

    def running(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """The last line that the plugin wrote to standard error, as the end of a sentence."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def stop(self) -> None:
        """Ends the plugin. Harmless when repeated, and in a fork, whose parent's it is."""
        if os.getpid() != self._pid:
            return
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(_END_DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_started: dict[tuple[str, ...], PluginProcess] = {}


def start_plugin(arguments: tuple[str, ...]) -> PluginProcess:
    """The plugin of this process with these arguments: all its mixtures share one. Raises PluginMissing."""
    running = _started.get(arguments)
    if running is None or not running.running():
        running = _started[arguments] = PluginProcess(arguments)
    return running


def stop_plugins() -> None:
    """Ends every plugin that this process has started."""
    for plugin in _started.values():
        plugin.stop()
    _started.clear()


def plugin_command() -> list[str]:
    """The one place that decides how the plugin runs: from the sources in an editable install, else from
    the bundle in the wheel. Raises PluginMissing."""
    package = Path(mixhead.__file__).resolve().parent
    root = package.parent.parent
    sources, bundle = root / "src" / "cli" / "plugin.ts", package / "_plugin" / "mixhead.mjs"
    if sources.exists():
        if not (root / "node_modules").is_dir():
            raise PluginMissing(f"the plugin's npm packages are not installed: run `npm start` in {root}")
        return [_node(), "--import", (root / "register.mjs").as_uri(), str(sources)]
    if bundle.exists():
        return [_node(), str(bundle)]
    raise PluginMissing(
        f"the plugin is not in {package}: install mixhead from its wheel or its repository, "
        "or say where one runs: mixhead.attach(endpoint) or MIXHEAD_ENDPOINT"
    )


@cache
def _node() -> str:
    node = shutil.which("node")
    needed = ".".join(map(str, NEEDED_NODE))
    if node is None:
        raise PluginMissing(
            f"the plugin needs Node {needed} or newer, and there is no node on the PATH: install it "
            "(nodejs.org), or say where a plugin runs: mixhead.attach(endpoint) or MIXHEAD_ENDPOINT"
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.lstrip("v").split(".")[:2])) < NEEDED_NODE:
        raise PluginMissing(f"the plugin needs Node {needed} or newer; {node} is {version}")
    return node
