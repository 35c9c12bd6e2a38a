"""The codec against the golden messages that the TypeScript side reads and writes too."""

import json
import math
from pathlib import Path

import msgpack
import numpy as np
import pytest

from mixhead.bridge.codec import decode, encode
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import FIELDS, FRAME_BYTES

_FOLDER = Path(__file__).parents[3] / "test" / "golden"
#: Of this version of the protocol, and of the last one, which is still read.
GOLDEN = sorted(_FOLDER.glob("*.json"))
GOLDEN_BEFORE = sorted(_FOLDER.glob("version-2/*.json"))
PING = {"type": "ping", "generation": "g"}


def golden(path: Path) -> list[bytes]:
    return [bytes.fromhex(frame) for frame in json.loads(path.read_text())["frames"]]


def message(*frames: bytes, **info: object) -> list[bytes]:
    """A message of one tensor whose header says `info` and whose frames are `frames`."""
    tensor = {"name": "t", "dtype": "float32", "shape": [2], "frames": 1, **info}
    return [msgpack.packb({**PING, "tensors": [tensor]}), *frames]


@pytest.mark.parametrize("path", GOLDEN + GOLDEN_BEFORE, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_golden_message_is_read_and_written_again_to_the_same_bytes(path: Path) -> None:
    header, tensors = decode(golden(path))
    assert [bytes(frame) for frame in encode(header, tensors)] == golden(path)


@pytest.mark.parametrize(
    ("paths", "added_since"), [(GOLDEN, set()), (GOLDEN_BEFORE, set())], ids=["this version", "version 2"]
)
def test_golden_messages_cover_every_type(paths: list[Path], added_since: set[str]) -> None:
    assert {decode(golden(path))[0]["type"] for path in paths} == set(FIELDS) - added_since


def test_golden_values_decode_to_the_intended_values() -> None:
    header, tensors = decode(golden(next(path for path in GOLDEN if path.stem == "targets")))
    scalars = header["scalars"]
    assert math.isnan(scalars.pop("lr"))
    assert scalars == {"loss": 5.545177459716797, "epochs": 3.0, "negative": -0.5, "large": 1e300}
    assert isinstance(scalars["epochs"], float)
    assert tensors["rows"].tolist() == [[-1, -0.875], [-0.75, -0.625]]
    assert tensors["indices"].tolist() == [0, 2]
    assert tensors["targets"].shape == (4, 3)


def test_a_tensor_is_cut_into_frames_and_is_decoded_writable() -> None:
    array = np.arange(600_000, dtype=np.float32).reshape(600, 1000)
    frames = encode(PING, {"t": array})
    assert [len(frame) for frame in frames[1:]] == [FRAME_BYTES, FRAME_BYTES, 2_400_000 - 2 * FRAME_BYTES]
    got = decode(frames)[1]["t"]
    assert np.array_equal(got, array)
    assert got.flags.writeable


def test_half_precision_becomes_float32_exactly() -> None:
    half = np.array([1, -2, 2**-24, 65504, np.inf, -0.0], np.float16)
    got = decode(encode(PING, {"t": half}))[1]["t"]
    assert got.dtype == np.float32
    assert got.tobytes() == half.astype(np.float32).tobytes()
    brain = np.array([0x3F80, 0xC049], "<u2").tobytes()
    assert decode(message(brain, dtype="bfloat16"))[1]["t"].tolist() == [1, -3.140625]


def test_rows_that_do_not_lie_in_one_piece_are_written_in_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(decode(encode(PING, {"t": array}))[1]["t"], array)


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (message(bytes(7)), "8 bytes; 7 bytes came"),
        (message(bytes(8), frames=2), "1 of 2"),
        (message(bytes(8), bytes(8)), "describes 1 frames, 2 came"),
        (message(bytes(8), dtype="float64"), "tensors of a ping"),
        (message(b"\1\2", dtype="bool"), "is bool, but holds 2"),
        ([b"\xc1"], "not msgpack"),
        ([], "not msgpack"),
        ([msgpack.packb([1])], "not one of mixhead's"),
        ([msgpack.packb({**PING, "tensors": [], "more": 1})], "unknown fields: more"),
        ([msgpack.packb({"type": "ping", "tensors": []})], "no generation"),
        ([msgpack.packb({"type": "welcome", "version": 1})], "version 1 .* this side versions 2 to 3"),
    ],
)
def test_bytes_that_are_not_a_message_are_refused_with_a_reason(frames: list[bytes], why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        decode(frames)


def test_a_tensor_that_cannot_travel_is_refused() -> None:
    with pytest.raises(ProtocolError, match="float64"):
        encode(PING, {"t": np.zeros(2)})
