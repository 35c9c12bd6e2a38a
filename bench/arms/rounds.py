"""An arm of a figure: reports when it is ready, then takes a round for every line that it receives."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping

import torch

WARM_UP = 3
MOST = 200  # steps of a round


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def take_rounds(
    step: Callable[[], None],
    device: str,
    seconds: float,
    measured: Callable[[], Mapping[str, float]] = dict,
    rest: Callable[[], None] = lambda: None,
    profile: bool = False,
) -> None:
    """Writes one JSON object per line to standard output: first facts about the arm, then one per round.

    A round is one step that is not counted, then as many as fit into ``seconds``: its "ms" is their mean.
    ``measured``: what else there is to say of a round. ``rest``: called after it, until all is done that the
    last step has set going, so that the next arm has the machine to itself.
    """
    steps = _warm_up(step, device, seconds)
    rest()
    said = {"steps": float(steps)}
    if profile and device == "cuda":
        said["kernelMs"] = kernel_ms(step, min(steps, 20))
        rest()
    say(said)
    for _ in sys.stdin:
        step()
        synchronise(device)
        began = time.perf_counter()
        for _ in range(steps):
            step()
        synchronise(device)
        ms = (time.perf_counter() - began) * 1e3 / steps
        answer = {"ms": ms, **measured()}
        rest()
        say(answer)


def say(numbers: Mapping[str, float]) -> None:
    print(json.dumps(numbers), flush=True)


def kernel_ms(step: Callable[[], None], steps: int) -> float:
    """Milliseconds per step in which kernels run on the device, on any stream."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e3 / steps


def _warm_up(step: Callable[[], None], device: str, seconds: float) -> int:
    for _ in range(WARM_UP):
        step()
    synchronise(device)
    began = time.perf_counter()
    for _ in range(2):
        step()
    synchronise(device)
    took = (time.perf_counter() - began) / 2
    return max(2, min(MOST, round(seconds / took)))
