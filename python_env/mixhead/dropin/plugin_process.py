"""Starts and stops the plugin, a Node process that ends when this process ends for any reason."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mixhead
from mixhead.dropin.node import PluginMissing, find_node, node_environment

_START_DEADLINE = 60.0  # seconds
_END_DEADLINE = 5.0
_LAST_MOMENT = 1.0  # seconds from the end of a process's connections to the end of the process
#: Signals that schedulers, shells and terminals send to every process of a job. The plugin ignores them.
_IGNORED = ("SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2")
#: A line of standard error with the reason. It is not the last line, in which Node prints its version.
_TOLD = re.compile(r"^(mixhead: |\w*Error\b.*: |FATAL ERROR: )")


class PluginProcess:
    """A running plugin. It runs until its standard input is closed. Raises PluginMissing."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        if sys.platform == "win32":
            raise PluginMissing(
                "mixhead's plugin runs on Linux and macOS: on Windows use WSL, or attach to a "
                '`mixhead serve` elsewhere: mixhead.attach("tcp://HOST:PORT")'
            )
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  as long-lived as the process
        self._pid = os.getpid()
        command = [*plugin_command(), "serve", "--owned", "--json", *arguments]
        until = time.monotonic() + _START_DEADLINE
        # Node resets every signal handler as it starts, so a signal may end it before the plugin ignores it.
        # The plugin has no state yet, so start another one.
        while (announced := self._start(command, until)) is None:
            pass
        self.endpoint: str = json.loads(announced)["endpoint"]

    def _start(self, command: list[str], until: float) -> bytes | None:
        """Starts a plugin and returns its first line; None if one of the ignored signals ended it."""
        # In a session of its own, Ctrl-C reaches only the script, which may still want to save the mixture.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=node_environment(),
            start_new_session=True,
        )
        stdout = self._process.stdout
        assert stdout is not None  # it is a pipe
        line = b""
        with selectors.DefaultSelector() as output:
            output.register(stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not output.select(max(0.0, until - time.monotonic())):
                    self.stop()
                    raise PluginMissing(
                        f"the plugin did not start within {_START_DEADLINE:g} s{self.last_words()}"
                    )
                read = os.read(stdout.fileno(), 4096)
                if not read:
                    self.stop()
                    if self._ended_by() in _IGNORED:
                        return None
                    raise PluginMissing(f"the plugin did not start{self.last_words()}")
                line += read
        return line

    def running(self) -> bool:
        """Whether the plugin runs; always False in a fork, because the plugin belongs to the parent."""
        return os.getpid() == self._pid and self._process.poll() is None

    def last_words(self) -> str:
        """Why the plugin's connection broke, as the end of a sentence: its own message, the signal that ended
        it, or that it has not ended."""
        if self._lives_on():
            return f": its process {self._process.pid} is there, but answers no heartbeat (is it stopped?)"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        told = next((line for line in reversed(lines) if _TOLD.match(line)), lines[-1] if lines else "")
        if not told and self._ended_by():
            told = f"it was ended by {self._ended_by()}"
        if not told or told.startswith("mixhead: "):
            return f": {told}" if told else ""
        options = os.environ.get("NODE_OPTIONS", "").strip()
        return f": {told} (NODE_OPTIONS is {options})" if options else f": {told}"

    def _lives_on(self) -> bool:
        """Whether the process is still there after a moment. False in a fork: the plugin is the parent's."""
        until = time.monotonic() + _LAST_MOMENT
        while self.running():
            if time.monotonic() > until:
                return True
            time.sleep(0.01)
        return False

    def _ended_by(self) -> str:
        """The name of the signal that ended the plugin; "" if none did."""
        status = self._process.poll()
        return signal.Signals(-status).name if status is not None and status < 0 else ""

    def stop(self) -> None:
        """Ends the plugin. May be called repeatedly. Does nothing in a fork: the plugin is the parent's."""
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
    """Returns this process's plugin with these arguments, which all mixtures share; starts it if necessary.
    Raises PluginMissing."""
    running = _started.get(arguments)
    if running is None or not running.running():
        running = _started[arguments] = PluginProcess(arguments)
    return running


def stop_plugins() -> None:
    """Stops every plugin that this process has started."""
    for plugin in _started.values():
        plugin.stop()
    _started.clear()


def plugin_command() -> list[str]:
    """The command that runs the plugin: from the sources in an editable install, else from the bundle in the
    wheel. Raises PluginMissing."""
    package = Path(mixhead.__file__).resolve().parent
    root = package.parent.parent
    sources, bundle = root / "src" / "cli" / "plugin.ts", package / "_plugin" / "mixhead.mjs"
    if sources.exists():
        if not (root / "node_modules").is_dir():
            raise PluginMissing(f"the plugin's npm packages are not installed: run `npm start` in {root}")
        return [find_node(), "--import", (root / "register.mjs").as_uri(), str(sources)]
    if bundle.exists():
        return [find_node(), str(bundle)]
    raise PluginMissing(
        f"the plugin is not in {package}: install mixhead from its wheel or its repository, "
        "or give the endpoint of a running plugin with mixhead.attach(endpoint) or MIXHEAD_ENDPOINT"
    )
