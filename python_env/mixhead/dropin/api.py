"""The functions that `import mixhead` offers to a training script."""

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
    """Sets the plugin of a mixture and its settings.

    This call is optional: without it, a plugin with default settings is started. The plugin is found or
    started at the first use of a head. If the mixture is already attached, it starts from the beginning.

    Args:
        endpoint: `ipc://PATH` or `tcp://HOST:PORT` of a `mixhead serve`. None: the environment variable
            MIXHEAD_ENDPOINT, or else a plugin is started.
        config: Settings as in a configuration file, as a dict. Its keys are "plugin", "targets", "seed",
            "train", "placement", "backend", "bridge" and "run". "run" is a name under which the run can be
            resumed. "targets" also requests target rows; `mixhead.targets()` returns them for
            `mixhead.losses`. Or the path of a configuration file, for a plugin that is started.
        name: The mixture.

    Raises:
        ValueError: If a setting is unknown, has the wrong type, or belongs to the running plugin.
        FileNotFoundError: If the configuration file does not exist.

    Example:
        >>> mixhead.attach(config={"plugin": {"variance": 0.01}, "targets": {}})
    """
    mixture(name).attach(Settings.of(endpoint, config))


def prototypes(name: str = "default") -> Tensor:
    """Returns the prototypes in use: (K, D), float32 rows of unit length, a copy on the CPU."""
    return mixture(name).steps.prototypes(torch.device("cpu"), torch.float32).clone()


def targets(name: str = "default", device: torch.device | str = "cpu") -> Tensor:
    """Returns the targets for the teacher rows of the current step. Waits for the plugin's answer.

    Args:
        name: The mixture.
        device: Where to put them.

    Returns:
        (N, K), float32, in the order of the teacher's calls. Rows sum to 1; all are NaN if a row of the batch
        is not finite or all zero; padding gets rows of 0.

    Raises:
        RuntimeError: If `attach` was called without "targets", or if the teacher was not called in this step.

    Example:
        >>> targets = mixhead.targets(device=logits.device)
        >>> loss = mixhead.losses.dino_loss(logits, targets, views=8, temperature=0.1)
    """
    return mixture(name).steps.targets(torch.device(device))


def stats(name: str = "default") -> dict[str, Any]:
    """Returns the mixture's figures, for logging.

    A figure that has not been measured yet is NaN. With very many prototypes the first measurement of
    "unique" and "distinctUsed" may take minutes.

    Args:
        name: The mixture.

    Returns:
        "unique" and "distinctUsed": for each cosine distance ("0.025", "0.1", "0.25", "0.5"), the share of
        all prototypes, or of those in use, that are at least so far apart. "used": the share of
        components that won an embedding in the last 500 steps. "entropy": of the responsibilities, in nats.
        "wait": seconds that the last step waited for the plugin. Further figures of the plugin, such as
        "beta", and those of `mixhead.monitor`. If the mixture is computed on this process's device, "used"
        and "entropy" lag by one step.
    """
    values = dict(mixture(name).steps.stats)
    by_distance = {
        measure: {epsilon: values.pop(f"{measure}.{epsilon}", math.nan) for epsilon in _EPSILONS}
        for measure in _BY_DISTANCE
    }
    return {**by_distance, "used": math.nan, "entropy": math.nan, **values, **monitored(name)}


def scalars(prefix: str = "mixhead/", name: str = "default") -> dict[str, float]:
    """Returns the finite figures of `stats` under flat names, such as "mixhead/distinctUsed/0.5".

    Args:
        prefix: Put before every name.
        name: The mixture.
    """
    values = stats(name)
    by_distance = {
        f"{measure}/{epsilon}": share
        for measure in _BY_DISTANCE
        for epsilon, share in values.pop(measure).items()
    }
    flat = {**by_distance, **values}
    return {f"{prefix}{key}": float(value) for key, value in flat.items() if math.isfinite(value)}


def teacher(module: _Module, name: str = "default") -> _Module:
    """Marks a module as the teacher. Needed only if its parameters do not show it (see docs/drop-in.md).

    A module without any of mixhead's heads feeds the mixture with its outputs (N, D) while it is in training
    mode. An example is the projection head of MSN's target network. Then end each step with `mixhead.step()`.

    Args:
        module: A head, or a module that contains heads or has outputs (N, D).
        name: The mixture, for a module without heads.

    Returns:
        The module.
    """
    layers = [part for part in module.modules() if isinstance(part, Prototypes)]
    for layer in layers:
        layer.marked = True
    if layers:
        return module

    def feed(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if module.training:
            mixture(name).steps.feed(F.normalize(output.detach().float(), dim=-1))

    module.register_forward_hook(feed)
    return module


def step() -> None:
    """Ends the current step of every mixture by hand, for scripts in which mixhead cannot detect it.

    After the first call, steps end only through this function.
    """
    for each in mixtures():
        each.steps.end()
