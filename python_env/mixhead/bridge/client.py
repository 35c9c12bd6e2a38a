"""One rank's end of the wire to the plugin."""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
import zmq
from zmq.utils.monitor import recv_monitor_message

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.errors import BatchError, DeadlinePassed, PeerLost, ProtocolError, Rejected
from mixhead.bridge.protocol import FRAME_BYTES, PROTOCOL_VERSION, Header

_HEARTBEAT_MS, _SILENCE_MS = 2000, 6000
_HELLO_AGAIN = 2.0  # seconds
_LINGER_MS = 1000


@dataclass(frozen=True)
class Welcome:
    """What the plugin says to a rank that joins."""

    step: int  # the next step that it expects
    config: str  # the run's configuration as JSON
    commands: list[str]  # to carry out before the first step
    prototypes: np.ndarray | None  # (K, D) float32


@dataclass(frozen=True)
class Targets:
    """The plugin's answer to a step."""

    step: int
    scalars: dict[str, float]  # the clock's values
    commands: list[str]  # to carry out after the optimizer's step, each answered by `send_result`
    rows: np.ndarray | None  # (R, D) float32: prototypes that changed
    indices: np.ndarray | None  # (R,) int32: which they are; None: `rows` are all of them
    targets: np.ndarray | None  # (N, K) float32: a distribution for each row that was sent


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _in_own_process(method: _Method) -> _Method:
    """Sockets do not survive a fork: the child would write into its parent's connection."""

    @wraps(method)
    def checked(self: "Client", *args: Any, **kwargs: Any) -> Any:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this client belongs to process {self._pid} and was used in its fork {os.getpid()} "
                "(a DataLoader worker?): make the client in the process that uses it"
            )
        return method(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


class Client:
    """A rank's connection to the plugin. Not for two threads at once.

    components, dim: K and D as the rank knows them; 0: whatever the plugin has.
    deadline: seconds that any wait may take without a sign of life.
    config: what this rank asks of the mixture, as JSON; "": whatever the plugin has.
    """

    def __init__(
        self,
        endpoint: str,
        run: str,
        mixture: str = "default",
        rank: int = 0,
        world: int = 1,
        components: int = 0,
        dim: int = 0,
        deadline: float = 60.0,
        config: str = "",
    ) -> None:
        self.endpoint, self.run, self.mixture, self.rank, self.world = endpoint, run, mixture, rank, world
        self.components, self.dim, self.deadline = components, dim, deadline
        self.config = config
        self._generation = secrets.token_hex(8)
        self._pid = os.getpid()
        self._linked = self._welcomed = self._lost = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TTL, _SILENCE_MS)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    @_in_own_process
    def connect(self, start: np.ndarray | None = None) -> Welcome:
        """Joins the run, whichever side starts first. `start`: the (K, D) prototypes that this rank holds.

        Raises Rejected, DeadlinePassed, PeerLost.
        """
        tensors = {} if start is None else {"prototypes": _float32(start)}
        hello = {
            "type": "hello",
            "version": PROTOCOL_VERSION,
            "run": self.run,
            "mixture": self.mixture,
            "rank": self.rank,
            "world": self.world,
            "components": self.components,
            "dim": self.dim,
            "generation": self._generation,
            "start": "" if start is None else hashlib.sha256(tensors["prototypes"].tobytes()).hexdigest(),
            "config": self.config,
        }
        try:
            self._socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            raise ValueError(
                f'"{self.endpoint}" is not an endpoint (ipc://PATH or tcp://HOST:PORT): {error}'
            ) from error
        until = time.monotonic() + self.deadline
        while (left := until - time.monotonic()) > 0:
            if not self._linked:
                self._monitor.poll(left * 1000)
                self._watch()
                continue
            self._send(hello, tensors)
            try:
                return self._welcome(self._receive("welcome", None, min(_HELLO_AGAIN, left)))
            except (DeadlinePassed, PeerLost):
                continue  # a plugin that is being started again
        where = (
            "is it running, is that its endpoint?" if not self._linked else "it is there, but does not answer"
        )
        raise DeadlinePassed(self._waited("a welcome", None, f"{where} ({self.deadline:g} s)"))

    @_in_own_process
    def send_embeddings(
        self, step: int, epoch: int, rows: np.ndarray | torch.Tensor | None, scalars: Mapping[str, float]
    ) -> None:
        """Asks for a step. `rows`: (N, D), copied before this returns; None: only the clock is wanted."""
        tensors = {} if rows is None else {"h": _float32(rows)}
        self._send(
            {"type": "embeddings", "step": step, "epoch": epoch, "scalars": dict(scalars)}, tensors, step
        )

    @_in_own_process
    def receive_targets(self, step: int) -> Targets:
        """Waits for the answer to `send_embeddings(step, ...)`.

        Raises BatchError, PeerLost, DeadlinePassed.
        """
        header, tensors = self._receive("targets", step)
        return Targets(
            step=step,
            scalars=header["scalars"],
            commands=header["commands"],
            rows=tensors.get("rows"),
            indices=tensors.get("indices"),
            targets=self._dense(tensors),
        )

    @_in_own_process
    def send_result(
        self,
        command: str,
        step: int,
        scalars: Mapping[str, float] | None = None,
        text: Mapping[str, str] | None = None,
        tensors: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Reports what a command gave, after `step` steps."""
        header = {"type": "result", "command": command, "step": step}
        self._send(
            {**header, "scalars": dict(scalars or {}), "text": dict(text or {})}, dict(tensors or {}), step
        )

    @_in_own_process
    def request_state(self) -> tuple[int, Tensors]:
        """The mixture's whole state, and the steps that it has taken."""
        self._send({"type": "state", "step": 0})
        header, tensors = self._receive("state", None)
        return header["step"], tensors

    @_in_own_process
    def load_state(self, step: int, state: Mapping[str, np.ndarray]) -> Welcome:
        """Lets the mixture go on from a state that was saved after `step` steps. Raises Rejected."""
        self._send({"type": "load", "step": step}, dict(state), step)
        return self._welcome(self._receive("welcome", step))

    def close(self, reason: str = "") -> None:
        """Says goodbye and frees the socket. An empty reason is a regular end. Harmless when repeated."""
        if os.getpid() != self._pid or self._context.closed:
            return
        if self._welcomed and not self._lost:
            try:
                self._send({"type": "bye", "reason": reason})
            except PeerLost:
                self._lost = True
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(_LINGER_MS if self._welcomed and not self._lost else 0)
        self._context.term()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close("" if kind is None else f"{kind.__name__}: {error}")

    def _send(self, header: Header, tensors: Tensors | None = None, step: int | None = None) -> None:
        self._watch()
        if self._lost:
            raise PeerLost(self._says("is gone: its process ended or the connection broke", step))
        self._socket.send_multipart(encode({"generation": self._generation, **header}, tensors))

    def _receive(self, kind: str, step: int | None, patience: float | None = None) -> tuple[Header, Tensors]:
        """Waits for a message of one kind. Pings ask the plugin whether the wait still has a reason."""
        patience = patience or self.deadline
        until = time.monotonic() + patience
        ping = time.monotonic() + patience / 4
        while True:
            now = time.monotonic()
            if now >= until:
                raise DeadlinePassed(self._waited(kind, step, f"no sign of life for {patience:g} s"))
            if now >= ping and kind == "targets":
                self._send({"type": "ping"}, None, step)
                ping = now + patience / 4
            wake = min(until, ping) if kind == "targets" else until
            ready = dict(self._poller.poll((wake - now) * 1000 + 1))
            if self._socket in ready or self._socket.poll(0):
                header, tensors = self._message()
                if header["type"] == "pong":
                    until = time.monotonic() + patience
                elif self._is_answer(header, kind, step):
                    return header, tensors
            elif self._monitor in ready:
                self._watch()
                if not self._linked:
                    raise PeerLost(self._waited(kind, step, "its process ended or the connection broke"))

    def _message(self) -> tuple[Header, Tensors]:
        frames = self._socket.recv_multipart(copy=False)
        return decode([frame.buffer for frame in frames])

    def _is_answer(self, header: Header, kind: str, step: int | None) -> bool:
        """Whether this is what was waited for. What ends the wait is raised; what is stale is dropped."""
        got = header["type"]
        if got == "reject":
            raise Rejected(header["code"], self._says(f"does not let it in: {header['message']}", step))
        if header["generation"] != self._generation:
            return False
        if got == "ping":
            self._send({"type": "pong"})
        elif got == "error":
            raise BatchError(
                header["code"], header["row"], self._says(f"refused: {header['message']}", header["step"])
            )
        elif got == "bye":
            self._lost = True
            raise PeerLost(self._waited(kind, step, f"it left: {header['reason'] or 'a regular end'}"))
        return got == kind and (step is None or header.get("step") == step)

    def _watch(self) -> None:
        """Reads the socket's events. A broken connection is mended before the welcome and final after it."""
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self._linked = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._lost = self._lost or (self._welcomed and not self._linked)

    def _welcome(self, message: tuple[Header, Tensors]) -> Welcome:
        header, tensors = message
        prototypes = tensors.get("prototypes")
        if prototypes is not None:
            self.components, self.dim = prototypes.shape
        self._watch()
        self._welcomed, self._lost = True, not self._linked
        return Welcome(header["step"], header["config"], header["commands"], prototypes)

    def _dense(self, tensors: Tensors) -> np.ndarray | None:
        """The target rows; sparse ones (CSR) are filled up with zeros."""
        if "targets.offsets" not in tensors:
            return tensors.get("targets")
        offsets, columns, values = (tensors[f"targets.{part}"] for part in ("offsets", "columns", "values"))
        counts = np.diff(offsets)
        fits = (
            len(offsets) > 0
            and (counts >= 0).all()
            and offsets[0] == 0
            and offsets[-1] == len(columns) == len(values)
        )
        if not fits or (len(columns) and not 0 <= columns.min() <= columns.max() < self.components):
            raise ProtocolError(
                self._says(f"sent sparse targets that are not rows of {self.components}", None)
            )
        dense = np.zeros((len(counts), self.components), np.float32)
        dense[np.repeat(np.arange(len(counts)), counts), columns] = values
        return dense

    def _says(self, what: str, step: int | None) -> str:
        at = "" if step is None else f", step {step}"
        return f'run "{self.run}", rank {self.rank}{at}: the plugin at {self.endpoint} {what}'

    def _waited(self, kind: str, step: int | None, why: str) -> str:
        at = "" if step is None else f" of step {step}"
        awaited = f"waited for {kind}{at} from the plugin at {self.endpoint}"
        return f'run "{self.run}", rank {self.rank}: {awaited}: {why}'


def _float32(rows: np.ndarray | torch.Tensor) -> np.ndarray:
    """Rows as contiguous float32 in this process's memory; from a GPU through pinned memory."""
    if isinstance(rows, torch.Tensor):
        host = torch.empty(rows.shape, dtype=torch.float32, pin_memory=rows.is_cuda)
        return host.copy_(rows.detach()).numpy()
    return np.ascontiguousarray(rows, dtype=np.float32)
