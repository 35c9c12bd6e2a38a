"""What `import mixhead` offers to a training script."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixhead.dropin.fitted import start_from as start_from
from mixhead.dropin.prototypes import Prototypes
from mixhead.dropin.registry import mixture, mixtures
from mixhead.dropin.settings import Settings
from mixhead.monitoring.monitor import monitored

_Module = TypeVar("_Module", bound=nn.Module)
_EPSILONS = ("0.025", "0.1", "0.25", "0.5")
_BY_DISTANCE = ("distinctUsed", "unique")


def attach(
    endpoint: str | None = None,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    name: str = "default",
) -> None:
    """Says where the plugin of mixture `name` is, and what is asked of it. Optional: else one is started.

    endpoint: `ipc://PATH` or `tcp://HOST:PORT` of a `mixhead serve`; else the environment's MIXHEAD_ENDPOINT.
    config: the settings of a configuration file that concern the plugin, as a dict ("plugin", "targets",
        "seed", "train", "placement", "backend", "bridge", and "run", a name by which a run can be gone on
        with); or such a file's path, for the plugin that is started. In a dict, "targets" asks for target
        rows too, which `mixhead.targets()` gives to `mixhead.losses`.

    The plugin is found or started at the first use. A mixture that is attached already begins anew.
    """
    mixture(name).attach(Settings.of(endpoint, config))


def prototypes(name: str = "default") -> Tensor:
    """The prototypes that the heads use now: (K, D), float32 rows of unit length, a copy on the CPU."""
    return mixture(name).prototypes(torch.device("cpu"), torch.float32).clone()


def targets(name: str = "default", device: torch.device | str = "cpu") -> Tensor:
    """The targets (N, K) for the teacher rows of the step under way, in the order of the teacher's calls:
    float32 rows that sum to 1, or NaN if a row of the batch is not finite or all zero. Waits for the step's
    answer. Only if `attach` asked for "targets"."""
    return mixture(name).targets(torch.device(device))


def stats(name: str = "default") -> dict[str, Any]:
    """What a script may log; NaN: not measured yet, which may take minutes for very many prototypes.

    "distinctUsed": by cosine distance ("0.025", "0.1", "0.25", "0.5"), the share of prototypes that are used
    and that far apart from each other; it is measured when "unique" is, which counts the unused too.
    "used": the share of components that won an embedding in the last 500 steps.
    "entropy": of the responsibilities, in nats. "wait": seconds that the last step waited for the plugin.
    And whatever else the plugin tells, such as "beta", and what `mixhead.monitor` has measured. If the
    mixture is computed on this process's device, "used" and "entropy" are those of the step before.
    """
    values = dict(mixture(name).stats)
    by_distance = {
        measure: {epsilon: values.pop(f"{measure}.{epsilon}", math.nan) for epsilon in _EPSILONS}
        for measure in _BY_DISTANCE
    }
    return {**by_distance, "used": math.nan, "entropy": math.nan, **values, **monitored(name)}


def scalars(prefix: str = "mixhead/", name: str = "default") -> dict[str, float]:
    """What `stats` has, for a logger: finite numbers alone, by names such as "mixhead/distinctUsed/0.5"."""
    values = stats(name)
    by_distance = {
        f"{measure}/{epsilon}": share
        for measure in _BY_DISTANCE
        for epsilon, share in values.pop(measure).items()
    }
    flat = {**by_distance, **values}
    return {f"{prefix}{key}": float(value) for key, value in flat.items() if math.isfinite(value)}


def teacher(module: _Module, name: str = "default") -> _Module:
    """Marks the heads of a module as the teacher's, where their parameters do not tell. Returns the module.

    Of a module without one of mixhead's heads, such as the projection head of MSN's target network, the
    outputs (N, D) feed the mixture while it is in training mode, and `mixhead.step()` ends a step.
    """
    layers = [part for part in module.modules() if isinstance(part, Prototypes)]
    for layer in layers:
        layer.marked = True
    if layers:
        return module

    def feed(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if module.training:
            mixture(name).feed(F.normalize(output.detach().float(), dim=-1))

    module.register_forward_hook(feed)
    return module


def step() -> None:
    """Ends a step by hand, of every mixture, where it cannot be told. From then on nothing else ends one."""
    for each in mixtures():
        each.step()
