"""Generated messages: what is written is read again, and any bytes give a message or the one error class."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from msgspec import UNSET, msgpack, structs

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.device import read_run
from mixhead.bridge.errors import ProtocolError
from mixhead.bridge.protocol import (
    NEWEST_VERSION,
    Command,
    Dtype,
    Error,
    ErrorCode,
    Execute,
    Failed,
    Header,
    Hello,
    Reject,
    RejectCode,
    RunInfo,
    Targets,
)
from mixhead.bridge.targets import read_targets
from mixhead.executor.run import FailureCode
from tests.bridge.test_codec import GOLDEN, golden

_counts = st.integers(0, 2**53 - 1)
_text = st.text(max_size=12)
_lists = st.lists(_counts, max_size=4).map(tuple)
_handles = st.integers(-1, 2**53 - 1)
_runs = st.builds(
    RunInfo,
    seq=st.integers(1, 2**53 - 1),
    program=st.sampled_from(["", "0123456789abcdef"]),
    inputs=_lists,
    base=_counts,
    free=_lists,
    reads=_lists,
    literals=st.binary(max_size=4).map(lambda each: each * 8),
    rows=_handles,
    metrics=_handles,
    prototypes=_handles,
    targets=_handles,
    forget=st.booleans(),
)
_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "version": st.just(NEWEST_VERSION),
    "world": st.integers(1, 4096),
    "seq": st.integers(1, 2**53 - 1),
    "at": _handles,
    "row": st.integers(-1, 1000),
    "commands": st.lists(st.sampled_from(get_args(Command)), max_size=4),
    "command": st.sampled_from(get_args(Command)),
    "scalars": st.dictionaries(_text, st.floats(allow_nan=False) | st.integers(-100, 100), max_size=4),
    "oldest": st.integers(2, NEWEST_VERSION),
    "capabilities": st.lists(_text, max_size=4),
    "text": st.dictionaries(_text, _text, max_size=4),
}
_CODES = {Reject: RejectCode, Error: ErrorCode, Failed: FailureCode}
_COUNTS = ("rank", "components", "dim", "executor", "step", "epoch", "announced")


def _field(kind: type[Header], name: str) -> st.SearchStrategy[Any]:
    if name == "code":
        return st.sampled_from(get_args(_CODES[kind]))
    if name == "run" and kind is not Hello:
        return _runs if kind is Execute else st.none() | _runs
    return _BY_NAME.get(name, _counts if name in _COUNTS else _text)


_headers = st.sampled_from(Header.__subclasses__()).flatmap(
    lambda kind: st.builds(
        kind, **{name: _field(kind, name) for name in kind.__struct_fields__ if name != "tensors"}
    )
)
_numbers = st.sampled_from([np.float32, np.float16, np.int32, np.uint8, np.bool_])
_arrays = _numbers.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, max_side=4)))
_tensors = st.dictionaries(_text | st.just("rows") | st.just("upload.7"), _arrays, max_size=3)
_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | _text
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(_headers, _tensors)
def test_a_written_message_is_read_back(header: Header, tensors: Tensors) -> None:
    got, arrays_ = decode(encode(header, tensors))
    assert structs.replace(got, tensors=UNSET) == header
    for name, tensor in tensors.items():
        expected = tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
        assert arrays_[name].dtype == (expected.dtype if expected.dtype != np.bool_ else np.bool_)
        assert arrays_[name].shape == expected.shape
        assert arrays_[name].tobytes() == expected.tobytes()


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=64), max_size=4))
def test_any_bytes_give_a_message_or_a_protocol_error(frames: list[bytes]) -> None:
    _only_protocol_errors(frames)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(_headers, _tensors, st.data())
def test_a_message_with_one_thing_wrong_gives_a_message_or_a_protocol_error(
    header: Header, tensors: Tensors, data: st.DataObject
) -> None:
    frames = [bytes(frame) for frame in encode(header, tensors)]
    fields = msgpack.decode(frames[0])
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(_anything)
    if name == "tensors" and fields["tensors"]:
        info = data.draw(st.sampled_from(["name", "dtype", "shape", "frames"]))
        value = [{**fields["tensors"][0], info: value}, *fields["tensors"][1:]]
    _only_protocol_errors([msgpack.encode({**fields, name: value}), *frames[1:]])


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.sampled_from(GOLDEN).map(golden), st.data())
def test_a_byte_that_differs_gives_a_message_or_a_protocol_error(
    frames: list[bytes], data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(frames) - 1))
    frame = bytearray(frames[which])
    if frame:
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    frames[which] = bytes(frame if data.draw(st.booleans()) else frame[:cut])
    _only_protocol_errors(frames)


@pytest.mark.parametrize("dtype", get_args(Dtype))
def test_a_shape_that_cannot_be_gives_a_protocol_error(dtype: str) -> None:
    for shape in ([0, 2**31, 2**31, 2**31], [2**31] * 8, [2**40], [1] * 9, [-1], [1.0], "shape", [True]):
        info = {"name": "t", "dtype": dtype, "shape": shape, "frames": 0}
        with pytest.raises(ProtocolError):
            decode([msgpack.encode({"type": "ping", "generation": "g", "tensors": [info]})])


@pytest.mark.parametrize("depth", [100, 1000, 100_000])
def test_a_header_that_is_nested_without_end_gives_a_protocol_error(depth: int) -> None:
    for nest in (b"\x91", b"\x81\xa1a"):
        with pytest.raises(ProtocolError):
            decode([nest * depth + b"\xc0"])
        with pytest.raises(ProtocolError):
            decode([b"\x82\xa4type\xa4ping\xaageneration" + nest * depth + b"\xc0"])


def _only_protocol_errors(frames: list[bytes]) -> None:
    try:
        header, tensors = decode(frames)
        if isinstance(run := getattr(header, "run", None), RunInfo):
            read_run(run, tensors)
        if isinstance(header, Targets):
            read_targets(header, tensors, 4, 3, 2)
    except ProtocolError as error:
        assert len(str(error)) < 1000
