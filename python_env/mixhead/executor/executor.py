"""The executor: tensors by handle, programs by hash, and runs of programs on tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mixhead.executor.compiled import Loop
from mixhead.executor.fuse import fuse
from mixhead.executor.kernels import KERNELS_VERSION
from mixhead.executor.literals import Literals
from mixhead.executor.modes import plain_torch
from mixhead.executor.program import DTYPES, Program, Spec, hash_of, read_program
from mixhead.executor.replay import failure
from mixhead.executor.run import NONE, ExecutorError, Run
from mixhead.executor.stream import HostCopy, stream_of


@dataclass(frozen=True)
class Outcome:
    """The results of a run."""

    values: list[np.ndarray]  # of the handles that it reads
    metrics: HostCopy | None  # (M,) float32
    prototypes: Tensor | None  # (K, D) float32; None: unchanged
    targets: Tensor | None  # (N, K) float32


@dataclass
class _Loaded:
    program: Program
    literals: Literals
    loop: Loop


class Executor:
    """The tensors of one connection on a device, and the programs that run on them.

    memory: bytes that all tensors with a handle may use together; by default all of the device's memory.
    compiles: whether to compile programs that run often; by default if that is faster (compiled.py).
    Raises ValueError if the device does not exist.
    """

    version = KERNELS_VERSION

    def __init__(
        self,
        device: str | torch.device = "cpu",
        memory: int | None = None,
        compiles: bool | None = None,
    ) -> None:
        self.device = _device(device)
        self.memory = memory if memory is not None else _memory_of(self.device)
        self._compiles = compiles
        self._stream = stream_of(self.device)
        self.clear()

    def clear(self) -> None:
        """Forgets all tensors and programs, for a new connection."""
        self.prototypes: Tensor | None = None  # (K, D) float32, of the last run that set them
        self._tensors: dict[int, Tensor] = {}
        self._programs: dict[str, _Loaded] = {}
        self._announced: Tensor | None = None

    @property
    def name(self) -> str:
        """A readable name of the device: "cpu", "cuda:0 NVIDIA H100"."""
        if self.device.type != "cuda":
            return str(self.device)
        return f"{self.device} {torch.cuda.get_device_name(self.device)}"

    @property
    def held(self) -> int:
        """Bytes of the tensors that have a handle."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    @property
    def handles(self) -> frozenset[int]:
        return frozenset(self._tensors)

    def bind(self, handle: int, tensor: Tensor) -> None:
        """Gives a copy of a tensor a handle. The caller may change the original afterwards."""
        self._tensors[handle] = self._taken(tensor, tensor.dtype)

    def announce(self, rows: Tensor) -> None:
        """Sets the rows (N, D) for the next run with `rows`. They are copied."""
        self._announced = self._taken(rows, torch.float32)

    def ready(self, *tensors: Tensor) -> None:
        """Makes the current stream wait for all runs so far, without blocking this process.

        Call this before the stream uses the prototypes or other tensors from a run."""
        prototypes = [] if self.prototypes is None else [self.prototypes]
        self._stream.hand_back(*prototypes, *tensors)

    def _taken(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Copies a tensor for the runs, on the current stream."""
        with plain_torch(self.device):
            copy = tensor.detach().to(self.device, dtype, copy=True).contiguous()
        self._stream.hand_over(copy)
        return copy

    def tensor(self, handle: int) -> Tensor:
        """The tensor of a handle; do not write to it. Raises ExecutorError if the handle is unknown."""
        return _of(handle, self._tensors)

    def read(self, handles: Sequence[int]) -> list[np.ndarray]:
        """Reads the values of tensors. Raises ExecutorError if a handle is unknown."""
        return [_values(self.tensor(handle)) for handle in handles]

    def run(self, run: Run) -> Outcome:
        """Uploads, runs, reads and frees, in this order.

        Raises ExecutorError; then the handles are unchanged.
        """
        try:
            if run.forget:
                self._programs.clear()
            if run.definition is not None:
                self._load(run.program, run.definition)
            with plain_torch(self.device), self._stream.launching():
                return self._run(run)
        except Exception as error:
            raise failure(error) from error

    def _run(self, run: Run) -> Outcome:
        loaded = self._program(run)
        self._check_memory(run, loaded)
        new = {handle: self._upload(array) for handle, array in run.uploads.items()}
        if run.rows != NONE:
            new[run.rows] = self._rows()
        if loaded is not None:
            self._compute(run, loaded, new)
        after = {**self._tensors, **new}
        metrics = _shaped(run.metrics, after, "metrics", 1)
        outcome = Outcome(
            [_values(_of(handle, after)) for handle in run.reads],
            None if metrics is None else self._stream.copy_to_host(metrics),
            _shaped(run.prototypes, after, "prototypes", 2),
            _shaped(run.targets, after, "targets", 2),
        )
        for handle in run.free:
            if after.pop(handle, None) is None:
                raise ExecutorError("handle", f"there is no tensor {handle} to free")
        self._tensors = after
        if run.rows != NONE:
            self._announced = None
        if outcome.prototypes is not None:
            self.prototypes = outcome.prototypes
        return outcome

    def _compute(self, run: Run, loaded: _Loaded, new: dict[int, Tensor]) -> None:
        """Runs the program and adds its outputs to `new` under their handles."""
        program = loaded.program
        inputs = [_of(handle, new, self._tensors) for handle in run.inputs]
        for index, (tensor, spec) in enumerate(zip(inputs, program.inputs, strict=True)):
            if (got := Spec.of(tensor)) != spec:
                raise ExecutorError("shape", f"input {index} is {got}; the program declares {spec}")
        vectors = loaded.literals.pack(run.literals, self.device)
        outputs = loaded.loop(inputs, vectors)
        new.update((run.base + index, _owned(tensor)) for index, tensor in enumerate(outputs))

    def _load(self, name: str, definition: bytes) -> None:
        if name != hash_of(definition):
            raise ExecutorError("program", f'the definition of program "{name}" has another hash')
        program = fuse(read_program(definition))
        literals = Literals(program.literals)
        loop = Loop(program, literals, self.device, self._compiles)
        self._programs[name] = _Loaded(program, literals, loop)

    def _program(self, run: Run) -> _Loaded | None:
        if run.program == "":
            return None
        loaded = self._programs.get(run.program)
        if loaded is None:
            raise ExecutorError("program", f'no definition of program "{run.program}" has come')
        if len(run.inputs) != len(loaded.program.inputs):
            raise ExecutorError(
                "program", f"the program has {len(loaded.program.inputs)} inputs, not {len(run.inputs)}"
            )
        return loaded

    def _check_memory(self, run: Run, loaded: _Loaded | None) -> None:
        """Checks before the run that its outputs and uploads fit into memory and use free handles."""
        new = {handle: array.nbytes for handle, array in run.uploads.items()}
        if run.rows != NONE:
            new[run.rows] = self._rows().nbytes
        if loaded is not None:
            program = loaded.program
            new |= {run.base + i: program.specs[slot].nbytes for i, slot in enumerate(program.outputs)}
        if taken := self._tensors.keys() & new.keys():
            raise ExecutorError("handle", f"there is a tensor {min(taken)} already")
        sizes = {handle: tensor.nbytes for handle, tensor in self._tensors.items()} | new
        after = sum(sizes.values()) - sum(sizes.get(handle, 0) for handle in set(run.free))
        if after > self.memory:
            raise ExecutorError(
                "memory",
                f"the tensors on {self.device} would take {_megabytes(after)}; "
                f"{_megabytes(self.memory)} are allowed",
            )

    def _upload(self, array: np.ndarray) -> Tensor:
        if (dtype := DTYPES.get(str(array.dtype))) is None:
            raise ExecutorError("program", f"an upload is {array.dtype}: float32, int32 and bool are allowed")
        return torch.from_numpy(array).to(self.device, dtype)

    def _rows(self) -> Tensor:
        if self._announced is None:
            raise ExecutorError("handle", "the run names rows, but this rank has announced none")
        return self._announced


def _device(device: str | torch.device) -> torch.device:
    try:
        known = torch.device(device)
    except RuntimeError:
        known = None
    if known == torch.device("cpu"):
        return known
    if known is not None and known.type == "cuda" and (known.index or 0) < torch.cuda.device_count():
        return known if known.index is not None else torch.device("cuda", torch.cuda.current_device())
    raise ValueError(f"there is no device {device} here")


def _memory_of(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of(handle: int, *places: Mapping[int, Tensor]) -> Tensor:
    for tensors in places:
        if handle in tensors:
            return tensors[handle]
    raise ExecutorError("handle", f"there is no tensor {handle}")


def _shaped(handle: int, tensors: Mapping[int, Tensor], what: str, rank: int) -> Tensor | None:
    if handle == NONE:
        return None
    tensor = _of(handle, tensors)
    if tensor.dtype != torch.float32 or tensor.ndim != rank:
        raise ExecutorError("shape", f"the {what} are {Spec.of(tensor)}, not float32 of {rank} dimensions")
    return tensor


def _owned(tensor: Tensor) -> Tensor:
    """Makes a tensor contiguous, in memory of its own, so that freeing its handle frees the memory."""
    tensor = tensor.contiguous()
    if tensor.untyped_storage().nbytes() == tensor.nbytes:
        return tensor
    return tensor.clone()


def _values(tensor: Tensor) -> np.ndarray:
    """A tensor's values in this process's memory, possibly sharing the tensor's."""
    return tensor.cpu().numpy()


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MB"
