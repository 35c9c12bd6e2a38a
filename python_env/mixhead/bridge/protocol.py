"""The wire, as src/bridge/protocol.ts describes it: the fields of every message, in their order.

A message is `[header, frame, frame, ...]`: a msgpack header, then tensors as raw little-endian
frames of at most FRAME_BYTES each. test/golden/ holds messages that both sides read and write alike.
"""

from functools import reduce
from operator import or_
from typing import Annotated, Literal

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType, ValidationError
from msgspec.msgpack import Decoder

from mixhead.bridge.errors import ProtocolError, printable
from mixhead.executor.run import FailureCode

#: The versions of the protocol that this side speaks. Of those that both sides speak, the highest is used.
OLDEST_VERSION, NEWEST_VERSION = 2, 3
FRAME_BYTES = 1 << 20
#: Items of any list or map of a header; dimensions of a tensor, and the size of each.
MAX_ITEMS = 1 << 16
MAX_DIMENSIONS = 8
MAX_SIZE = 1 << 31

Command = Literal["evaluate", "probe", "checkpoint", "stop"]
RejectCode = Literal["version", "shape", "rank", "busy", "unknown", "state", "secret"]
ErrorCode = Literal["order", "shape", "dtype", "row", "plugin", "peer"]
Dtype = Literal["float32", "float16", "bfloat16", "int32", "uint8", "bool"]

_AT_MOST = Meta(max_length=MAX_ITEMS)
Count = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=1)]
Handle = Annotated[int, Meta(ge=-1)]
Handles = Annotated[tuple[Count, ...], _AT_MOST]
Texts = Annotated[list[str], _AT_MOST]
Commands = Annotated[list[Command], _AT_MOST]
Scalars = Annotated[dict[str, float], _AT_MOST]
Shape = Annotated[list[Annotated[int, Meta(ge=0, le=MAX_SIZE)]], Meta(max_length=MAX_DIMENSIONS)]


class TensorInfo(Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    dtype: Dtype
    shape: Shape
    frames: Count


class RunInfo(Struct, forbid_unknown_fields=True, frozen=True):
    """One run of a program; mixhead/executor/run.py says what each field means."""

    seq: Size
    program: Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?\Z")]
    inputs: Handles
    base: Count
    free: Handles
    reads: Handles
    literals: bytes
    rows: Handle
    metrics: Handle
    prototypes: Handle
    targets: Handle
    forget: bool

    def __post_init__(self) -> None:
        if len(self.literals) % 8:
            raise ValueError(f"Expected float64 literals, got {len(self.literals)} bytes")


class Header(Struct, tag_field="type", tag=str.lower, forbid_unknown_fields=True, kw_only=True):
    """What every message has: its type comes first, and its tensors, which `encode` describes, last."""

    tensors: Annotated[list[TensorInfo], _AT_MOST] | UnsetType = UNSET

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()


class Hello(Header):
    version: int
    run: str
    mixture: str
    rank: Count
    world: Size
    components: Count
    dim: Count
    generation: str
    start: str
    config: str
    executor: Count
    device: str
    # Since version 3:
    oldest: int | UnsetType = UNSET
    secret: str | UnsetType = UNSET
    capabilities: Texts | UnsetType = UNSET


class Welcome(Header):
    version: int
    generation: str
    step: Count
    config: str
    commands: Commands
    run: RunInfo | None
    capabilities: Texts | UnsetType = UNSET  # since version 3


class Reject(Header):
    code: RejectCode
    message: str


class Embeddings(Header):
    generation: str
    step: Count
    epoch: Count
    scalars: Scalars
    announced: Count


class Targets(Header):
    generation: str
    step: Count
    scalars: Scalars
    commands: Commands
    run: RunInfo | None


class Execute(Header):
    generation: str
    run: RunInfo


class Values(Header):
    generation: str
    seq: Size


class Failed(Header):
    generation: str
    seq: Size
    at: Handle
    code: FailureCode
    message: str


class Error(Header):
    generation: str
    step: Count
    code: ErrorCode
    row: int
    message: str


class State(Header):
    generation: str
    step: Count


class Load(Header):
    generation: str
    step: Count


class Ping(Header):
    generation: str


class Pong(Header):
    generation: str


class Result(Header):
    generation: str
    command: Command
    step: Count
    scalars: Scalars
    text: Annotated[dict[str, str], _AT_MOST]


class Bye(Header):
    generation: str
    reason: str


class _Kind(Struct):
    """What messages of all versions have, whatever else is in them."""

    type: str


class _Versions(Struct):
    """What a hello and a welcome of all versions have, and a hello since version 3."""

    version: int | UnsetType = UNSET
    oldest: int | UnsetType = UNSET


_kind, _versions = Decoder(_Kind), Decoder(_Versions)
_header: Decoder[Header] = Decoder(reduce(or_, Header.__subclasses__()))


def read(data: bytes | memoryview) -> Header:
    """Decodes a header. Raises ProtocolError with the field that is not one of this protocol."""
    if len(data) > FRAME_BYTES:
        raise ProtocolError(f"a header has at most {FRAME_BYTES} bytes, not {len(data)}")
    what = "a message"
    try:
        what = f"the {_kind.decode(data).type:.40} message"
        _check_versions(_versions.decode(data))
        header = _header.decode(data)
        if header.tensors is UNSET:
            raise ValidationError("Object missing required field `tensors`")
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(printable(f"{what} is invalid: {error!s:.200}")) from error
    return header


def _check_versions(versions: _Versions) -> None:
    newest = versions.version
    oldest = newest if versions.oldest is UNSET else versions.oldest
    if newest is UNSET or oldest is UNSET or max(oldest, OLDEST_VERSION) <= min(newest, NEWEST_VERSION):
        return
    theirs = f"version {newest}" if oldest == newest else f"versions {oldest} to {newest}"
    raise ProtocolError(
        f"the other side speaks {theirs} of the protocol, this side versions {OLDEST_VERSION} to "
        f"{NEWEST_VERSION}: install the same mixhead on both"
    )
