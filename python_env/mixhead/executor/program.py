"""Reads definitions of programs, and checks them before anything runs."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch

from mixhead.executor.kernels import KERNELS, KERNELS_VERSION, Function, Kernel
from mixhead.executor.run import ExecutorError

DTYPES = {"float32": torch.float32, "int32": torch.int32, "bool": torch.bool}
ITEM_BYTES = {torch.float32: 4, torch.int32: 4, torch.bool: 1}
MAX_LITERAL = 64  # numbers
MAX_RANK = 8
MAX_BYTES = 1 << 45  # of a tensor: more than any device has
MAX_TEXT = 1 << 25  # bytes of a definition
_FIELDS = ["version", "inputs", "literals", "code", "outputs"]


class Spec(NamedTuple):
    """The declared dtype and shape of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {list(self.shape)}"

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Spec:
        return cls(tensor.dtype, tuple(tensor.shape))


@dataclass(frozen=True)
class Instruction:
    """A call of a kernel. Its outputs get the slots `first`, `first` + 1, ..."""

    at: int  # its index in the definition
    kernel: Kernel
    inputs: tuple[int, ...]  # slots
    attributes: dict[str, Any]
    first: int
    outputs: tuple[Spec, ...]

    def bound(self, device: torch.device) -> Function:
        """The kernel's function with its attributes: tensors in, tensors out."""
        keywords = {**self.attributes, **({"device": device} if self.kernel.wants_device else {})}
        return partial(self.kernel.function, **keywords) if keywords else self.kernel.function


@dataclass(frozen=True)
class Program:
    """Instructions over slots. Inputs have the first slots, then literals, then outputs of instructions."""

    inputs: tuple[Spec, ...]
    literals: tuple[Spec, ...]
    code: tuple[Instruction, ...]
    outputs: tuple[int, ...]  # slots
    specs: tuple[Spec, ...]  # by slot


def hash_of(definition: bytes) -> str:
    """The name of a program: the first 16 hex digits of its definition's SHA-256."""
    return hashlib.sha256(definition).hexdigest()[:16]


def read_program(definition: bytes) -> Program:
    """Reads a definition. Raises ExecutorError: "kernel" if a kernel is not on the list, else "program"."""
    if len(definition) > MAX_TEXT:
        _refuse(f"has {len(definition)} bytes; {MAX_TEXT} are allowed")
    try:
        text = json.loads(definition, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        _refuse(f"is not JSON: {error}")
    if not isinstance(text, dict) or list(text) != _FIELDS:
        _refuse(f"is not an object of {', '.join(_FIELDS)}")
    if text["version"] != KERNELS_VERSION:
        _refuse(f"is for version {text['version']!r:.20} of the kernels, this executor has {KERNELS_VERSION}")
    inputs = _specs(text["inputs"], "its inputs")
    literals = _specs(text["literals"], "its literals")
    if large := [spec for spec in literals if spec.size > MAX_LITERAL]:
        _refuse(f"has a literal of {large[0].size} numbers; {MAX_LITERAL} are allowed")
    specs = [*inputs, *literals]
    code = []
    for at, each in enumerate(_list(text["code"], "its code")):
        code.append(_instruction(at, each, len(specs)))
        specs += code[-1].outputs
    outputs = _slots(text["outputs"], len(specs), "its outputs", -1)
    return Program(inputs, literals, tuple(code), outputs, tuple(specs))


def _instruction(at: int, text: Any, slots: int) -> Instruction:
    if not isinstance(text, list) or len(text) != 4 or not isinstance(text[0], str):
        _refuse("is not [kernel, slots, attributes, outputs]", at)
    name, inputs, attributes, outputs = text
    kernel = KERNELS.get(name)
    if kernel is None:
        raise ExecutorError("kernel", f'this executor has no kernel "{name:.60}"', at)
    read = _slots(inputs, slots, name, at)
    if not kernel.takes(len(read)):
        _refuse(f"{name} takes {_how_many(kernel)} tensors, not {len(read)}", at)
    if not isinstance(attributes, dict):
        _refuse(f"{name} has attributes that are no object", at)
    try:
        values = kernel.read(attributes)
    except ValueError as error:
        _refuse(f"{name}: {error}", at)
    return Instruction(at, kernel, read, values, slots, _specs(outputs, name, at))


def _how_many(kernel: Kernel) -> str:
    if kernel.most is None:
        return f"{kernel.least} or more"
    return str(kernel.most) if kernel.least == kernel.most else f"{kernel.least} to {kernel.most}"


def _specs(value: Any, what: str, at: int = -1) -> tuple[Spec, ...]:
    return tuple(_spec(each, what, at) for each in _list(value, what, at))


def _spec(value: Any, what: str, at: int) -> Spec:
    if not isinstance(value, list) or len(value) != 2 or value[0] not in DTYPES:
        _refuse(f"{what}: {value!r:.60} is not [dtype, shape]", at)
    shape = _list(value[1], what, at)
    if len(shape) > MAX_RANK or not all(_is_count(size) for size in shape):
        _refuse(f"{what}: {value!r:.60} is no shape of at most {MAX_RANK} sizes", at)
    spec = Spec(DTYPES[value[0]], tuple(shape))
    if spec.nbytes > MAX_BYTES:
        _refuse(f"{what}: no device holds {spec}", at)
    return spec


def _slots(value: Any, count: int, what: str, at: int) -> tuple[int, ...]:
    slots = _list(value, what, at)
    for slot in slots:
        if not _is_count(slot) or slot >= count:
            _refuse(f"{what}: there is no slot {slot!r:.20}; so far there are {count}", at)
    return tuple(slots)


def _list(value: Any, what: str, at: int = -1) -> list[Any]:
    if not isinstance(value, list):
        _refuse(f"{what}: {value!r:.60} is not a list", at)
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _refuse(why: str, at: int = -1) -> NoReturn:
    raise ExecutorError("program", f"the program {why}" if at < 0 else f"instruction {at}: {why}", at)
