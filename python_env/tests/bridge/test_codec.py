"""The codec against the golden messages that the TypeScript side reads and writes too."""

import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import msgpack, structs

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import (
    FRAME_BYTES,
    MAX_ITEMS,
    Embeddings,
    Execute,
    Header,
    Ping,
    Result,
    RunInfo,
    TensorInfo,
    read,
)
from mixhead.executor import Run
from tests.bridge.plugin import info_of

_FOLDER = Path(__file__).parents[3] / "test" / "golden"
#: Of this version of the protocol, and of the last one, which is still read.
GOLDEN = sorted(_FOLDER.glob("*.json"))
GOLDEN_BEFORE = sorted(_FOLDER.glob("version-2/*.json"))
PING = {"type": "ping", "generation": "g"}
EMBEDDINGS = {"type": "embeddings", "generation": "g", "step": 0, "epoch": 0, "scalars": {}, "announced": 0}
HELLO = msgpack.decode(bytes.fromhex(json.loads((_FOLDER / "hello.json").read_text())["frames"][0]))


def golden(path: Path) -> list[bytes]:
    return [bytes.fromhex(frame) for frame in json.loads(path.read_text())["frames"]]


def message(*frames: bytes, **info: object) -> list[bytes]:
    """A message of one tensor whose header says `info` and whose frames are `frames`."""
    tensor = {"name": "t", "dtype": "float32", "shape": [2], "frames": 1, **info}
    return [msgpack.encode({**PING, "tensors": [tensor]}), *frames]


@pytest.mark.parametrize("path", GOLDEN + GOLDEN_BEFORE, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_golden_message_is_read_and_written_again_to_the_same_bytes(path: Path) -> None:
    header, tensors = decode(golden(path))
    assert [bytes(frame) for frame in encode(header, tensors)] == golden(path)


@pytest.mark.parametrize(
    ("paths", "added_since"), [(GOLDEN, set()), (GOLDEN_BEFORE, set())], ids=["this version", "version 2"]
)
def test_golden_messages_cover_every_type(paths: list[Path], added_since: set[type[Header]]) -> None:
    assert {type(decode(golden(path))[0]) for path in paths} == set(Header.__subclasses__()) - added_since


def test_golden_values_decode_to_the_intended_values() -> None:
    header, tensors = decode(golden(next(path for path in GOLDEN if path.stem == "targets")))
    scalars = header.scalars
    assert math.isnan(scalars.pop("lr"))
    assert scalars == {"loss": 5.545177459716797, "epochs": 3.0, "negative": -0.5, "large": 1e300}
    assert isinstance(scalars["epochs"], float)
    assert tensors["rows"].tolist() == [[-1, -0.875], [-0.75, -0.625]]
    assert tensors["indices"].tolist() == [0, 2]
    assert tensors["targets"].shape == (4, 3)


def test_a_tensor_is_cut_into_frames_and_is_decoded_writable() -> None:
    array = np.arange(600_000, dtype=np.float32).reshape(600, 1000)
    frames = encode(Ping("g"), {"t": array})
    assert [len(frame) for frame in frames[1:]] == [FRAME_BYTES, FRAME_BYTES, 2_400_000 - 2 * FRAME_BYTES]
    got = decode(frames)[1]["t"]
    assert np.array_equal(got, array)
    assert got.flags.writeable


def test_half_precision_becomes_float32_exactly() -> None:
    half = np.array([1, -2, 2**-24, 65504, np.inf, -0.0], np.float16)
    got = decode(encode(Ping("g"), {"t": half}))[1]["t"]
    assert got.dtype == np.float32
    assert got.tobytes() == half.astype(np.float32).tobytes()
    brain = np.array([0x3F80, 0xC049], "<u2").tobytes()
    assert decode(message(brain, dtype="bfloat16"))[1]["t"].tolist() == [1, -3.140625]


def test_rows_that_do_not_lie_in_one_piece_are_written_in_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(decode(encode(Ping("g"), {"t": array}))[1]["t"], array)


def packed(header: object) -> list[bytes]:
    return [msgpack.encode(header)]


def with_run(**fields: object) -> list[bytes]:
    """A message whose run is valid but for these fields."""
    run = {**structs.asdict(info_of(Run(seq=1))), **fields}
    return packed({"type": "execute", "generation": "g", "run": run, "tensors": []})


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (message(bytes(7)), "8 bytes; 7 bytes came"),
        (message(bytes(8), frames=2), "1 of 2"),
        (message(bytes(8), bytes(8)), "describes 1 frames, 2 came"),
        (message(bytes(8), dtype="float64"), r"the ping message .* `\$.tensors\[0\].dtype`"),
        (message(bytes(8), frames=-1), r"`int` >= 0 - at `\$.tensors\[0\].frames`"),
        (message(shape=[0, -1], frames=0), r"`int` >= 0 - at `\$.tensors\[0\].shape\[1\]`"),
        (message(shape=[0] * 9, frames=0), r"length <= 8 - at `\$.tensors\[0\].shape`"),
        (message(shape=[0, 2**31 + 1], frames=0), r"`int` <= 2147483648 - at `\$.tensors\[0\].shape\[1\]`"),
        (message(bytes(8), more=1), r"unknown field `more` - at `\$.tensors\[0\]`"),
        (message(b"\1\2", dtype="bool"), "is bool, but holds 2"),
        ([b"\xc1"], "a message is invalid: MessagePack data is malformed"),
        ([], "a message is invalid: Input data was truncated"),
        ([*packed({**PING, "tensors": []}), b"more"], "ping describes 0 frames, 1 came"),
        ([packed({**PING, "tensors": []})[0] + b"\0"], "a message is invalid: .* trailing characters"),
        ([bytes(FRAME_BYTES + 1)], "a header has at most"),
        (packed([1]), "a message is invalid: Expected `object`, got `array`"),
        (packed({"generation": "g", "tensors": []}), "a message is invalid: .* `type`"),
        (packed({"type": "pin\x1bg", "tensors": []}), r"the pin\\x1bg message is invalid: .* at `\$.type`"),
        (packed({"type": 1, "tensors": []}), r"a message is invalid: .* `\$.type`"),
        (packed({**PING, 1: 2, "tensors": []}), "a message is invalid: Expected `str`, got `int` - at `key`"),
        (packed({**PING, "tensors": [], "more": 1}), "the ping message is invalid: .* unknown field `more`"),
        (packed({**PING, "tensors": [], "more" * 5000: 1}), "the ping message is invalid: .* unknown field"),
        (packed({"type": "more" * 5000, "tensors": []}), "the moremore.* message is invalid: "),
        (packed({"type": "ping", "tensors": []}), "the ping message is invalid: .* field `generation`"),
        (packed(PING), "the ping message is invalid: Object missing required field `tensors`"),
        (packed({"type": "hello", "version": "3"}), r"the hello message is invalid: .* `\$.version`"),
        ([b"\x82\xa4type\xa4ping\xaageneration\xa1\xff"], "the ping message is invalid: 'utf-8' codec"),
        ([b"\x82\xa4type\xa4ping\xa1\xff\1"], "the ping message is invalid: 'utf-8' codec"),
        (with_run(program="0123456789abcdef\n"), r"matching regex .* `\$.run.program`"),
        (with_run(literals=bytes(9)), r"float64 literals, got 9 bytes - at `\$.run`"),
    ],
)
def test_bytes_that_are_not_a_message_are_refused_with_a_reason(frames: list[bytes], why: str) -> None:
    with pytest.raises(ProtocolError, match=why) as raised:
        decode(frames)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("kind", "field", "item"),
    [
        ("ping", "tensors", 0),
        ("hello", "capabilities", "sparse"),
        ("targets", "commands", "stop"),
        ("targets", "scalars", 1),
        ("result", "text", "why"),
        ("execute", "run.inputs", 1),
    ],
)
def test_a_list_or_map_of_too_many_items_is_refused(kind: str, field: str, item: object) -> None:
    header = msgpack.decode(golden(_FOLDER / f"{kind}.json")[0])
    *outer, name = field.split(".")
    inside = header[outer[0]] if outer else header
    count = MAX_ITEMS + 1
    inside[name] = {str(i): item for i in range(count)} if isinstance(inside[name], dict) else [item] * count
    with pytest.raises(ProtocolError, match=rf"{kind} .* of length <= {MAX_ITEMS} - at `\$.{field}`"):
        read(msgpack.encode(header))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", True),
        ("step", 1.0),
        ("step", -1),
        ("step", "1"),
        ("step", None),
        ("generation", b"g"),
        ("scalars", {"a": True}),
        ("scalars", {"a": "1"}),
        ("scalars", {"a": None}),
        ("scalars", {1: 1.0}),
        ("scalars", [1.0]),
        ("tensors", {}),
        ("tensors", None),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_field(field: str, value: object) -> None:
    with pytest.raises(ProtocolError, match=rf"the embeddings message is invalid: Expected .*`\$.{field}"):
        decode(packed({**EMBEDDINGS, "tensors": [], field: value}))


def test_scalars_may_be_any_numbers_and_are_written_as_javascript_writes_them() -> None:
    scalars = {"nan": math.nan, "whole": 3, "large": 2**64 - 1, "least": -(2**63), "half": 0.5}
    header, _ = decode(packed({**EMBEDDINGS, "scalars": scalars, "tensors": []}))
    assert all(isinstance(value, float) for value in header.scalars.values())
    assert math.isnan(header.scalars.pop("nan"))
    assert header.scalars == {"whole": 3, "large": 2.0**64, "least": -(2.0**63), "half": 0.5}
    again = msgpack.decode(encode(header)[0])["scalars"]
    assert [type(value) for value in again.values()] == [int, float, float, float]


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    twice = b"\x84\xa4type\xa4ping\xaageneration\xa1a\xaageneration\xa1b\xa7tensors\x90"
    assert decode([twice])[0].generation == "b"


@pytest.mark.parametrize("kind", ["hello", "welcome"])
@pytest.mark.parametrize(
    ("versions", "theirs"),
    [
        ({"version": 1}, "version 1"),
        ({"version": 4, "oldest": 4}, "version 4"),
        ({"version": 99, "oldest": 98}, "versions 98 to 99"),
        ({"version": 2, "oldest": 3}, "versions 3 to 2"),
    ],
)
def test_another_version_is_the_reason_whatever_else_it_brings(
    kind: str, versions: dict[str, int], theirs: str
) -> None:
    hello = {**HELLO, "type": kind, "oldest": versions["version"], "rank": "first", "more": [{}], **versions}
    for header in (hello, {"type": kind, **versions}):
        with pytest.raises(
            ProtocolError, match=f"^the other side speaks {theirs} of .* versions 2 to 3: inst"
        ):
            decode(packed(header))


@pytest.mark.parametrize(
    "versions", [{"version": 3}, {"version": 99, "oldest": 3}, {"version": 2, "oldest": 1}]
)
def test_a_hello_of_a_range_of_versions_that_has_one_of_this_side_is_read(versions: dict[str, int]) -> None:
    hello = {name: value for name, value in HELLO.items() if name not in ("version", "oldest")}
    assert decode([msgpack.encode({**hello, **versions, "tensors": []})])[0].version == versions["version"]


def places() -> Iterator[bytes]:
    """Beginnings of headers, after which a value comes: that of any field of any message, and others."""
    yield from (b"", b"\x81", b"\x81\xa4type", b"\x81\xa7version", b"\x82\xa4more")
    for kind in Header.__subclasses__():
        fields = [msgpack.encode(name) for name in kind.__struct_fields__]
        fields += [b"\xa7tensors\x91\x81" + msgpack.encode(name) for name in TensorInfo.__struct_fields__]
        if kind is Execute:
            fields += [b"\xa3run\x81" + msgpack.encode(name) for name in RunInfo.__struct_fields__]
        yield from (b"\x82\xa4type" + msgpack.encode(kind.__name__.lower()) + field for field in fields)


@pytest.mark.parametrize("claim", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"], ids=bytes.hex)
def test_a_header_that_claims_four_billion_items_gets_no_memory_for_them(claim: bytes) -> None:
    for place in places():
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError):
                decode([place + claim + b"\xff" * 4])
            assert tracemalloc.get_traced_memory()[1] < 2**20, place
        finally:
            tracemalloc.stop()


def test_a_header_is_read_where_it_lies() -> None:
    name = "n" * 900_000
    frames = [memoryview(msgpack.encode({**PING, "generation": name, "tensors": []}))]
    tracemalloc.start()
    try:
        decode(frames)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * len(name)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("header", "tensors", "why"),
    [
        (Ping("g"), {"t": np.zeros(2)}, "float64"),
        (Embeddings("g", -1, 0, {}, 0), {}, r"the embeddings message is invalid: .* `\$.step`"),
        (Result("g", "nothing", 0, {}, {}), {}, r"the result message is invalid: .* `\$.command`"),
        (Ping("g" * FRAME_BYTES), {}, "a header has at most"),
    ],
)
def test_what_cannot_travel_is_not_written(header: Header, tensors: Tensors, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        encode(header, tensors)
