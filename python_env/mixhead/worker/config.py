"""The part of a run's configuration that the worker needs, parsed from the plugin's JSON.

The TypeScript side documents every key and fills in the defaults (src/config/schema.ts). The worker checks
that the keys are there, their types, and the few limits that would otherwise cause an obscure failure.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from dataclasses import dataclass

from mixhead.worker.errors import WorkerError

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class DataConfig:
    name: str
    train: int | str = "all"
    test: int | str = "all"
    held_out: int | None = None
    imbalance: float = 100.0
    path: str | None = None


@dataclass(frozen=True)
class EncoderConfig:
    name: str


@dataclass(frozen=True)
class HeadConfig:
    hidden: int
    dim: int
    norm: str


@dataclass(frozen=True)
class TrainConfig:
    batch: int
    clip: float
    koleo: float = 0.0
    online_probe: bool = True
    disk_full: str = "end"
    sync_norms: bool = True


@dataclass(frozen=True)
class ViewsConfig:
    global_: int
    local: int
    global_size: int
    local_size: int
    global_scale: tuple[float, float]
    local_scale: tuple[float, float]


@dataclass(frozen=True)
class PluginConfig:
    components: int


@dataclass(frozen=True)
class TargetsConfig:
    balance: str
    memory: int = 0
    from_: str = "similarity"
    by: str = "rank"


@dataclass(frozen=True)
class CarpConfig:
    partition: str = "step"
    balance: str = "all"


@dataclass(frozen=True)
class Config:
    """The configuration. The field ``global_`` is the key ``global``, ``global_size`` is ``globalSize``."""

    seed: int
    device: str
    precision: str
    method: str
    prototypes: str
    data: DataConfig
    encoder: EncoderConfig
    head: HeadConfig
    train: TrainConfig
    views: ViewsConfig
    plugin: PluginConfig
    targets: TargetsConfig
    carp: CarpConfig = CarpConfig()
    placement: str = "auto"  # in a training, the plugin has replaced "auto" by its choice


@dataclass(frozen=True)
class Assignment:
    """The worker's task, from the plugin's welcome."""

    config: Config
    data_dir: str
    checkpoint_dir: str
    resume: str | None
    meeting: str = ""  # a key that all ranks of one start share; each start has another one


_CHOICES = {
    "device": ("auto", "cpu", "cuda"),
    "precision": ("float32", "bfloat16", "float16"),
    "prototypes": ("decoupled", "joint", "frozen"),
    "head.norm": ("batch", "none"),
    "targets.balance": ("sinkhorn", "center", "none"),
    "placement": ("auto", "host", "device"),
    "targets.from": ("similarity", "responsibility", "plugin"),
    "targets.by": ("rank", "plugin"),
    "carp.partition": ("step", "fixed"),
    "carp.balance": ("all", "block"),
    "train.diskFull": ("end", "wait"),
}


def parse_assignment(text: str) -> Assignment:
    """Parses the welcome's JSON. Raises WorkerError naming the key that is missing or wrong."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise WorkerError(f"the plugin sent a configuration that is not JSON: {error}") from error
    assignment = parse(Assignment, raw, "")
    if assignment.config.views.global_ + assignment.config.views.local < 2:
        raise WorkerError("views: the loss compares different views, so it needs at least two")
    return assignment


T = typing.TypeVar("T", bound="DataclassInstance")


def parse(cls: type[T], raw: object, where: str) -> T:
    """Parses an object with camelCase keys as a dataclass. Keys that the class lacks are ignored.

    Args:
        cls: The dataclass.
        raw: The object, from JSON.
        where: Its path in the configuration, for error messages.

    Raises:
        WorkerError: If a key is missing or has a wrong value.
    """
    if not isinstance(raw, dict):
        raise WorkerError(f"configuration: {where or 'all of it'} must be an object")
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        key = re.sub(r"_(\w)", lambda match: match[1].upper(), field.name).rstrip("_")
        path = f"{where}.{key}".removeprefix(".").removeprefix("config.")
        if key in raw:
            values[field.name] = _value(hints[field.name], raw[key], path)
        elif field.default is dataclasses.MISSING and type(None) not in typing.get_args(hints[field.name]):
            raise WorkerError(f"configuration: {path} is missing")
        elif field.default is dataclasses.MISSING:
            values[field.name] = None
    return cls(**values)


def _value(hint: object, raw: object, path: str) -> object:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse(hint, raw, path)
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if isinstance(raw, list) and len(raw) == len(parts):
            return tuple(_value(part, item, path) for part, item in zip(parts, raw, strict=True))
        raise WorkerError(f"configuration: {path} must be a list of {len(parts)}, not {raw!r}")
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in allowed and isinstance(raw, int) and not isinstance(raw, bool):
        raw = float(raw)
    if isinstance(raw, bool) != (hint is bool) or not isinstance(raw, allowed):
        raise WorkerError(f"configuration: {path} cannot be {raw!r}")
    if path in _CHOICES and raw not in _CHOICES[path]:
        raise WorkerError(f"configuration: {path} must be one of ({', '.join(_CHOICES[path])}), not {raw!r}")
    return raw
