"""What a pickle holds beside tensors: read past, and never run."""

import collections
import datetime
import enum
import pickle
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.models.modules import DINOProjectionHead
from omegaconf import OmegaConf
from torch import nn

from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.files import read_entries
from mixhead.checkpoint.prototypes import read_prototypes
from tests.checkpoint.files import D, K, Ran, rows, saved

Colour = enum.Enum("Colour", ["RED"], module=__name__)


class Outer:
    class Inner:
        pass


def beside() -> dict[str, object]:
    default = collections.defaultdict(list)
    default["loss"].append(0.5)
    return {
        "numpy": np.random.get_state(),
        "generator": np.random.default_rng(0),
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "array": np.arange(5),
        "texts": np.array(["a", None], dtype=object),
        "path": Path("/runs/1"),
        "paths": {Path("a"): {Path("b")}},
        "default": default,
        "counter": collections.Counter("aab"),
        "frozen": frozenset([1]),
        "slice": slice(1, 2),
        "config": OmegaConf.create({"head": {"sizes": [1, 2]}, "path": Path("/data")}),
        "time": datetime.datetime(2026, 1, 1),
        "enum": Colour.RED,
        "nested": Outer.Inner(),
        "function": nn.functional.relu,
        "dtype": np.dtype("f4"),
        "half": torch.float16,
        "error": ValueError("x"),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_any_class_beside_the_weights_are_skipped(
    tmp_path: Path, zipped: bool, protocol: int
) -> None:
    content = {**beside(), "state_dict": {"last_layer.weight": rows()}, **beside()}
    path = saved(tmp_path, content, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = read_prototypes(path)
    assert found.key == "state_dict.last_layer.weight" and torch.equal(found.rows, rows())


@pytest.mark.parametrize(
    "change",
    [lambda a: a, np.asfortranarray, lambda a: a.astype(">f8"), lambda a: a.astype("f4").copy()[::1]],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_an_array_of_numpy_can_be_the_prototypes(
    tmp_path: Path, protocol: int, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    content = {"prototypes": change(rows().numpy()), "labels": np.zeros((4, 4), dtype=int)}
    assert torch.equal(read_prototypes(saved(tmp_path, content, pickle_protocol=protocol)).rows, rows())
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert torch.equal(read_prototypes(tmp_path / "plain.pkl").rows, rows())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pickled_model_is_read_by_the_names_of_its_state_dict(tmp_path: Path) -> None:
    head = DINOProjectionHead(8, 8, D, K)
    path = saved(tmp_path, {"teacher": head, "student": nn.Sequential(nn.BatchNorm1d(3))})
    found = read_prototypes(path)
    assert found.key == "teacher.last_layer.weight_v" and torch.equal(found.rows, head.last_layer.weight_v)
    states = {f"teacher.{name}": tensor.shape for name, tensor in head.state_dict().items()}
    entries = {name: entry.shape for name, entry in read_entries(path).items()}
    assert states.items() <= entries.items() and "student.0.running_mean" in entries


def test_torchscript_is_read_without_compiling_it(tmp_path: Path) -> None:
    head = nn.Module()
    head.last_layer = nn.Linear(D, K, bias=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.ModuleDict({"head": head})), tmp_path / "head.pt")
    found = read_prototypes(tmp_path / "head.pt")
    assert found.key == "head.last_layer.weight" and torch.equal(found.rows, head.last_layer.weight)


def test_an_archive_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path, {"last_layer.weight": rows()})
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_prototypes(path).rows, rows())


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(tmp_path: Path, zipped: bool) -> None:
    content = {"last_layer.weight": rows(), "hook": Ran(sys.exit, "code in the pickle was run")}
    path = saved(tmp_path, content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"holds a Python object \(sys\.exit\), which is not loaded"):
        read_prototypes(path)


LEFT: list[object] = []


def leave(*given: object) -> list[object]:
    LEFT.append(given)
    return LEFT


class Leaves:
    """Leaves a trace wherever it is made, filled or given a state."""

    def __init__(self, *given: object) -> None:
        leave(given)

    def __reduce__(self) -> tuple:
        return Leaves, (1,), {"state": 2}, iter([3]), iter([(4, 5)])

    __setstate__ = append = extend = __setitem__ = leave


TORCH = b"ctorch._utils\n_rebuild_tensor_v2\n"
GETATTR = b"cbuiltins\ngetattr\n"
LEAVE = f"c{__name__}\nleave\n".encode()
CALL = b")R"
SLOTS = b"s\x86b"
HOSTILE = {
    "a call of an unknown function": (LEAVE, b"(K\x01tR"),
    "a call of what a call has given": (LEAVE, CALL, CALL),
    "an attribute that is called": (GETATTR, LEAVE, b"X\x08\0\0\0__call__\x86R", CALL),
    "an attribute of a number": (GETATTR, b"K\x01X\x01\0\0\0a\x86R", CALL),
    "a class whose state is set": (LEAVE, b"}X\x05\0\0\0givenK\x01sb"),
    "a class whose methods are replaced": (LEAVE, b"N}X\x0c\0\0\0__setstate__", LEAVE, SLOTS),
    "an object whose methods are replaced": (LEAVE, CALL, b"N}X\x06\0\0\0append", LEAVE, SLOTS, b"K\x01a"),
    "a tensor without a storage": (TORCH, b"(K\x01K\x00K\x06\x85K\x01\x85\x89NtR"),
    "an instruction that does not exist": (b"\xff",),
    "an extension that is not registered": (b"\x82\x01",),
}


@pytest.mark.parametrize("instructions", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_instruction_of_a_pickle_runs(tmp_path: Path, instructions: tuple[bytes, ...]) -> None:
    (tmp_path / "hostile.pkl").write_bytes(b"\x80\x02" + b"".join(instructions) + b".")
    with pytest.raises(CheckpointError, match=r"hostile\.pkl"):
        read_prototypes(tmp_path / "hostile.pkl")
    assert LEFT == []


def test_an_object_is_made_and_filled_without_its_class(tmp_path: Path) -> None:
    content = {"hook": Leaves.__new__(Leaves), "call": Ran(leave, 1), "last_layer.weight": rows()}
    assert torch.equal(read_prototypes(saved(tmp_path, content)).rows, rows())
    assert LEFT == []


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is the system's")
def test_a_pickle_of_a_few_bytes_takes_no_more_memory(tmp_path: Path) -> None:
    import resource

    (tmp_path / "memo.pkl").write_bytes(b"\x80\x02}r\x00\x00\x00\x08.")  # keeps the object as number 2^27
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_entries(tmp_path / "memo.pkl") == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def laughs(innermost: object) -> list[object]:
    level = [innermost]
    for _ in range(12):
        level = [level] * 9
    return level


def test_lists_nested_in_each_other_many_times_are_read_in_bounded_time(tmp_path: Path) -> None:
    content = {"last_layer.weight": rows(), "laughs": laughs(1)}
    assert torch.equal(read_prototypes(saved(tmp_path, content)).rows, rows())
    with pytest.raises(CheckpointError, match="or has more than 100,000 tensors in it"):
        read_prototypes(saved(tmp_path, laughs(torch.ones(1))))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_that_claims_more_than_its_storage_has_is_one_sentence(tmp_path: Path, zipped: bool) -> None:
    storage = torch.ones(4).storage()
    beyond = Ran(torch._utils._rebuild_tensor_v2, storage, 2, (K, D), (D, 1), False, {})
    path = saved(tmp_path, {"last_layer.weight": beyond}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="is not all there: the file is cut short or damaged"):
        read_prototypes(path)
