"""Has the wheel carry the plugin: everything else about the package is in pyproject.toml."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import ExecError

HERE = Path(__file__).resolve().parent
BUNDLE = HERE / "mixhead" / "_plugin" / "mixhead.mjs"


def bundle() -> None:
    """Makes the plugin's bundle where its sources are; elsewhere, as in an sdist, it has to be there."""
    script = HERE.parent / "bin" / "bundle.mjs"
    if not script.exists():
        if not BUNDLE.exists():
            raise ExecError(
                "mixhead: the plugin is not in this folder: build from the repository or from an sdist"
            )
        return
    node = shutil.which("node")
    if node is None:
        raise ExecError(
            "mixhead: the wheel carries the plugin, which Node makes: install Node 20.19 or newer"
        )
    if not (HERE.parent / "node_modules").is_dir():
        raise ExecError(
            "mixhead: the wheel carries the plugin, which is made of npm packages: run `npm ci` in "
            f"{HERE.parent} first"
        )
    made = subprocess.run([node, str(script)], capture_output=True, text=True)
    if made.returncode:
        words = (made.stderr.strip().splitlines() or ["no word of why"])[0]
        raise ExecError(f"mixhead: `npm run bundle` in {HERE.parent} failed: {words}")


class BuildPy(build_py):
    """What goes into the wheel. An editable install runs the plugin's sources instead."""

    def run(self) -> None:
        if not self.editable_mode:
            bundle()
            # What an earlier build left here would get into the wheel, deleted modules too.
            shutil.rmtree(Path(self.build_lib) / "mixhead", ignore_errors=True)
        super().run()


class Sdist(sdist):
    """What a wheel can be built from where there is no Node."""

    def run(self) -> None:
        bundle()
        super().run()


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
