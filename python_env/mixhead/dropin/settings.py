"""A script's settings for its plugin, from `mixhead.attach` and the environment."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixhead.bridge import Keys
from mixhead.bridge.keys import read_keys

#: Settings of one mixture are sent to any plugin; the others can only be set for a plugin that is started.
_OF_A_MIXTURE = ("seed", "plugin", "targets", "train", "placement")
_OF_THE_PLUGIN = ("backend", "bridge")
_ALLOWED = ("run", *_OF_A_MIXTURE, *_OF_THE_PLUGIN)
_OF_THE_BRIDGE = ("endpoint", "deadline", "keys", "deviceMemory")


@dataclass(frozen=True)
class Settings:
    """Where the plugin is, and the settings for it and for its mixture."""

    endpoint: str | None = None  # None: a plugin is started
    run: str = ""  # "": a name that no other script has
    wish: str = ""  # the mixture's settings, as JSON
    arguments: tuple[str, ...] = ()  # of a plugin that is started: a configuration file, settings
    deadline: float = 60.0  # seconds
    targets: bool = False
    placement: str = "auto"
    keys: Keys | None = None  # of a plugin on another machine
    device_memory: int | None = None  # bytes that a mixture on this rank's device may use

    @staticmethod
    def of(
        endpoint: str | None = None, config: Mapping[str, Any] | str | os.PathLike[str] | None = None
    ) -> Settings:
        """Reads the arguments of `mixhead.attach`. Raises ValueError or FileNotFoundError."""
        endpoint = endpoint or os.environ.get("MIXHEAD_ENDPOINT") or None
        if isinstance(config, (str, os.PathLike)):
            return _from_file(endpoint, Path(config))
        config = _section("config", {} if config is None else config, _ALLOWED)
        bridge = _section("bridge", config.get("bridge", {}), _OF_THE_BRIDGE)
        endpoint = endpoint or bridge.pop("endpoint", None)
        deadline = bridge.get("deadline", 60.0)
        if not isinstance(deadline, (int, float)) or deadline <= 0:
            raise ValueError(f"attach: bridge.deadline is {deadline!r}; allowed: seconds, above 0")
        if endpoint and "backend" in config:
            raise ValueError(f"attach: the plugin at {endpoint} has its own backend: set it there")
        arguments = [f"bridge.deadline={deadline}"]
        memory = bridge.get("deviceMemory")
        if memory is not None and (not isinstance(memory, (int, float)) or memory <= 0):
            raise ValueError(f"attach: bridge.deviceMemory is {memory!r}; allowed: GiB, above 0")
        if memory is not None:
            arguments.append(f"bridge.deviceMemory={memory}")
        if "backend" in config:
            arguments.append(f"backend={config['backend']}")
        keys = bridge.get("keys") or os.environ.get("MIXHEAD_KEYS")
        wish = {key: config[key] for key in _OF_A_MIXTURE if key in config}
        return Settings(
            endpoint=endpoint,
            run=str(config.get("run", "")),
            wish=_json(wish) if wish else "",
            arguments=tuple(arguments),
            deadline=float(deadline),
            device_memory=None if memory is None else int(memory * 2**30),
            targets="targets" in config,
            placement=str(config.get("placement", "auto")),
            keys=read_keys(keys) if keys else None,
        )

    def run_name(self) -> str:
        """The run's name: the given one, or a new one that no other script has."""
        return self.run or f"{Path(sys.argv[0]).stem or 'python'}-{secrets.token_hex(4)}"[-40:]


def _section(name: str, given: object, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Checks that one section of the settings is a dict with allowed keys, and copies it."""
    if not isinstance(given, Mapping):
        raise ValueError(f"attach: {name} is {given!r}; allowed: a dict of {', '.join(allowed)}")
    unknown = [key for key in given if key not in allowed]
    if unknown:
        raise ValueError(
            f"attach: {name} has no {', '.join(map(repr, unknown))}; allowed: {', '.join(allowed)}"
        )
    return dict(given)


def _json(wish: dict[str, Any]) -> str:
    try:
        return json.dumps(wish, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"attach: settings are numbers, strings, lists and dicts ({error})") from error


def _from_file(endpoint: str | None, file: Path) -> Settings:
    if endpoint:
        raise ValueError(
            f"attach: the plugin at {endpoint} has its own configuration: "
            "give this script's settings as a dict, or start that plugin with the file"
        )
    if not file.is_file():
        raise FileNotFoundError(f"attach: the configuration file {file} does not exist")
    return Settings(arguments=(str(file.resolve()),))
