"""The wire, as src/bridge/protocol.ts describes it: the fields of every message, in their order.

A message is `[header, frame, frame, ...]`: a msgpack header, then tensors as raw little-endian
frames of at most FRAME_BYTES each. test/golden/ holds messages that both sides read and write alike.
"""

import re
import reprlib
from collections.abc import Callable
from typing import Any, TypeGuard

from mixhead.bridge.errors import ProtocolError

#: The versions of the protocol that this side speaks. Of those that both sides speak, the highest is used.
OLDEST_VERSION, NEWEST_VERSION = 2, 3
FRAME_BYTES = 1 << 20
#: Items of any list or map of a header; dimensions of a tensor, and the size of each.
MAX_ITEMS = 1 << 16
MAX_DIMENSIONS = 8
MAX_SIZE = 1 << 31

COMMANDS = ("evaluate", "probe", "checkpoint", "stop")
REJECT_CODES = ("version", "shape", "rank", "busy", "unknown", "state", "secret")
ERROR_CODES = ("order", "shape", "dtype", "row", "plugin", "peer")
FAILURE_CODES = ("kernel", "program", "shape", "handle", "memory", "failed")
DTYPES = ("float32", "float16", "bfloat16", "int32", "uint8", "bool")

Header = dict[str, Any]
Check = Callable[[Any], bool]


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _is_size(value: Any) -> bool:
    return _is_integer(value) and value > 0


def _is_handle(value: Any) -> bool:
    return _is_integer(value) and value >= -1


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("([0-9a-f]{16})?", value) is not None


def _is_float64s(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) % 8 == 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMENSIONS
        and all(_is_count(size) and size <= MAX_SIZE for size in value)
    )


def _one_of(names: tuple[str, ...]) -> Check:
    return lambda value: isinstance(value, str) and value in names


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _map_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(_is_text(k) and check(v) for k, v in value.items())


def _object(fields: dict[str, Check]) -> Check:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == fields.keys()
        and all(check(value[k]) for k, check in fields.items())
    )


_tensor = _object({"name": _is_text, "dtype": _one_of(DTYPES), "shape": _is_shape, "frames": _is_count})
#: One run of a program; mixhead/executor/run.py says what each field means.
_run = _object(
    {
        "seq": _is_size,
        "program": _is_hash,
        "inputs": _list_of(_is_count),
        "base": _is_count,
        "free": _list_of(_is_count),
        "reads": _list_of(_is_count),
        "literals": _is_float64s,
        "rows": _is_handle,
        "metrics": _is_handle,
        "prototypes": _is_handle,
        "targets": _is_handle,
        "forget": _is_flag,
    }
)
_commands = _list_of(_one_of(COMMANDS))
_scalars = _map_of(_is_number)

#: The fields of each message after `type` and before `tensors`.
FIELDS: dict[str, dict[str, Check]] = {
    "hello": {
        "version": _is_integer,
        "run": _is_text,
        "mixture": _is_text,
        "rank": _is_count,
        "world": _is_size,
        "components": _is_count,
        "dim": _is_count,
        "generation": _is_text,
        "start": _is_text,
        "config": _is_text,
        "executor": _is_count,
        "device": _is_text,
        "oldest": _is_integer,
        "secret": _is_text,
        "capabilities": _list_of(_is_text),
    },
    "welcome": {
        "version": _is_integer,
        "generation": _is_text,
        "step": _is_count,
        "config": _is_text,
        "commands": _commands,
        "run": _or_none(_run),
        "capabilities": _list_of(_is_text),
    },
    "reject": {"code": _one_of(REJECT_CODES), "message": _is_text},
    "embeddings": {
        "generation": _is_text,
        "step": _is_count,
        "epoch": _is_count,
        "scalars": _scalars,
        "announced": _is_count,
    },
    "targets": {
        "generation": _is_text,
        "step": _is_count,
        "scalars": _scalars,
        "commands": _commands,
        "run": _or_none(_run),
    },
    "execute": {"generation": _is_text, "run": _run},
    "values": {"generation": _is_text, "seq": _is_size},
    "failed": {
        "generation": _is_text,
        "seq": _is_size,
        "at": _is_handle,
        "code": _one_of(FAILURE_CODES),
        "message": _is_text,
    },
    "error": {
        "generation": _is_text,
        "step": _is_count,
        "code": _one_of(ERROR_CODES),
        "row": _is_integer,
        "message": _is_text,
    },
    "state": {"generation": _is_text, "step": _is_count},
    "load": {"generation": _is_text, "step": _is_count},
    "ping": {"generation": _is_text},
    "pong": {"generation": _is_text},
    "result": {
        "generation": _is_text,
        "command": _one_of(COMMANDS),
        "step": _is_count,
        "scalars": _scalars,
        "text": _map_of(_is_text),
    },
    "bye": {"generation": _is_text, "reason": _is_text},
}

#: Fields that version 2 leaves out.
SINCE_VERSION_3: dict[str, set[str]] = {
    "hello": {"oldest", "secret", "capabilities"},
    "welcome": {"capabilities"},
}


def check(header: Any) -> Header:
    """The header, if it is one of this protocol. Raises ProtocolError with the field that is not."""
    if not isinstance(header, dict) or not _is_text(header.get("type")) or header["type"] not in FIELDS:
        raise ProtocolError("a message arrived that is not one of mixhead's")
    kind = header["type"]
    if kind in ("hello", "welcome"):
        _check_version(header)
    fields = {"type": _is_text, **FIELDS[kind], "tensors": _list_of(_tensor)}
    for name, is_valid in fields.items():
        if name not in header:
            if name in SINCE_VERSION_3.get(kind, ()):
                continue
            raise ProtocolError(f"a {kind} message has no {name}")
        if not is_valid(header[name]):
            shown = reprlib.repr(header[name])
            raise ProtocolError(f"the {name} of a {kind} message is {shown:.80}, which is not allowed")
    unknown = header.keys() - fields.keys()
    if unknown:
        shown = ", ".join(sorted(each if _is_text(each) else reprlib.repr(each) for each in unknown))
        raise ProtocolError(f"a {kind} message has unknown fields: {shown:.200}")
    return header


def _check_version(header: Header) -> None:
    newest = header.get("version")
    oldest = header.get("oldest", newest)
    if (
        _is_integer(newest)
        and _is_integer(oldest)
        and max(oldest, OLDEST_VERSION) <= min(newest, NEWEST_VERSION)
    ):
        return
    theirs = f"version {newest!r:.20}" if oldest == newest else f"versions {oldest!r:.20} to {newest!r:.20}"
    raise ProtocolError(
        f"the other side speaks {theirs} of the protocol, this side versions {OLDEST_VERSION} to "
        f"{NEWEST_VERSION}: install the same mixhead on both"
    )
