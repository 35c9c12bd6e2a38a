"""Runs a plan of trainings, several at a time: ``gpu_runs.py PLAN --jobs N --limit SECONDS -- CALL``.

A line of the plan is ``NAME SEED [KEY=VALUE ...]``. To CALL are added the settings, the seed, and the
run's name, NAME-sSEED; what it says goes to runs/NAME-sSEED.log. At the limit all are asked to end, which
takes a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

GRACE = 20  # seconds for a checkpoint


@dataclass(frozen=True)
class Planned:
    name: str
    seed: int
    settings: list[str]

    @property
    def run(self) -> str:
        return f"{self.name}-s{self.seed}"


def read_plan(path: Path) -> list[Planned]:
    plan: dict[str, Planned] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) < 2 or not words[1].isdigit() or not all("=" in word for word in words[2:]):
            sys.exit(f"{path}, line {number}: write NAME SEED [KEY=VALUE ...]")
        planned = Planned(words[0], int(words[1]), words[2:])
        if planned.run in plan:
            sys.exit(f"{path}, line {number}: {planned.name} with seed {planned.seed} is there already")
        plan[planned.run] = planned
    return list(plan.values())


def start(command: list[str], planned: Planned) -> subprocess.Popen[bytes]:
    with open(f"runs/{planned.run}.log", "ab") as log:
        return subprocess.Popen(
            [*command, *planned.settings, f"seed={planned.seed}", "--name", planned.run],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that killing the group ends its worker as well
        )


def carry_out(command: list[str], plan: list[Planned], jobs: int, end: float) -> int:
    """Runs the plan, prints a line for each training that did not finish, and returns their number."""
    waiting, running, unfinished = list(plan), dict[str, subprocess.Popen[bytes]](), 0
    while (waiting or running) and time.monotonic() < end:
        while waiting and len(running) < jobs:
            planned = waiting.pop(0)
            running[planned.run] = start(command, planned)
        time.sleep(0.2)
        for run, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[run]
            if process.returncode != 0:
                unfinished += 1
                print(f"{run} failed: {last_line(run)}")
    for process in running.values():
        process.terminate()
    last = time.monotonic() + GRACE
    for run, process in running.items():
        try:
            process.wait(max(0.0, last - time.monotonic()))
            print(f"{run} was stopped at a checkpoint")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            print(f"{run} was killed, {GRACE} s after it was asked to stop")
    for planned in waiting:
        print(f"{planned.run} was not begun")
    return unfinished + len(running) + len(waiting)


def last_line(run: str) -> str:
    said = Path(f"runs/{run}.log").read_text(errors="replace").strip()
    return said.splitlines()[-1] if said else "it said nothing"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    plan = read_plan(options.plan)
    Path("runs").mkdir(exist_ok=True)
    end = time.monotonic() + options.limit
    return 1 if carry_out(options.command, plan, options.jobs, end) else 0


if __name__ == "__main__":
    sys.exit(main())
