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

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.errors import BatchError, DeadlinePassed, PeerLost, Rejected
from mixhead.bridge.link import Keys, Link
from mixhead.bridge.protocol import PROTOCOL_VERSION, Header
from mixhead.bridge.targets import Targets, read_targets

_HELLO_AGAIN = 2.0  # seconds


@dataclass(frozen=True)
class Welcome:
    """What the plugin says to a rank that joins."""

    step: int  # the next step that it expects
    config: str  # the run's configuration as JSON
    commands: list[str]  # to carry out before the first step
    prototypes: np.ndarray | None  # (K, D) float32


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
        keys: Keys | None = None,
    ) -> None:
        self.endpoint, self.run, self.mixture, self.rank, self.world = endpoint, run, mixture, rank, world
        self.components, self.dim, self.deadline = components, dim, deadline
        self.config = config
        self._generation = secrets.token_hex(8)
        self._pid = os.getpid()
        self._link = Link(keys)
        self._welcomed = self._ended = False
        self._drops = 0  # of the link, by the time of the welcome
        self._sent = 0  # rows of the step that is asked for

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
        self._link.connect(self.endpoint)
        until = time.monotonic() + self.deadline
        while (left := until - time.monotonic()) > 0:
            if not self._link.up:
                self._link.wait_until_up(left)
                continue
            self._send(hello, tensors)
            try:
                return self._welcome(self._receive("welcome", None, min(_HELLO_AGAIN, left)))
            except (DeadlinePassed, PeerLost):
                continue  # a plugin that is being started again
        why = "it is there, but does not answer"
        if not self._link.up:
            why = "is it running, are that its endpoint and its keys?"
        raise DeadlinePassed(self._waited("a welcome", None, f"{why} ({self.deadline:g} s)"))

    @_in_own_process
    def send_embeddings(
        self, step: int, epoch: int, rows: np.ndarray | torch.Tensor | None, scalars: Mapping[str, float]
    ) -> None:
        """Asks for a step. `rows`: (N, D), copied before this returns; None: only the clock is wanted."""
        tensors = {} if rows is None else {"h": _float32(rows)}
        self._sent = 0 if rows is None else len(rows)
        self._send(
            {"type": "embeddings", "step": step, "epoch": epoch, "scalars": dict(scalars)}, tensors, step
        )

    @_in_own_process
    def receive_targets(self, step: int) -> Targets:
        """Waits for the answer to `send_embeddings(step, ...)`.

        Raises BatchError, PeerLost, DeadlinePassed.
        """
        header, tensors = self._receive("targets", step)
        return read_targets(header, tensors, self._sent, self.components, self.dim)

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
        if os.getpid() != self._pid:
            return
        deliver = self._welcomed and not self._is_lost()
        if deliver:
            self._send({"type": "bye", "reason": reason})
        self._ended = True
        self._link.close(deliver=deliver)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close("" if kind is None else f"{kind.__name__}: {error}")

    def _send(self, header: Header, tensors: Tensors | None = None, step: int | None = None) -> None:
        if self._is_lost():
            raise PeerLost(self._says(f"is gone: {self._why_gone()}", step))
        self._link.send(encode({"generation": self._generation, **header}, tensors))

    def _signal(self, kind: str) -> None:
        """A ping or pong; where the plugin is gone, the wait that it belongs to finds out."""
        self._link.send(encode({"type": kind, "generation": self._generation}))

    def _is_lost(self) -> bool:
        """Before the welcome a connection that breaks is mended, after it that is the end."""
        if not self._ended:
            self._link.watch()
        return self._ended or (self._welcomed and self._link.drops > self._drops)

    def _why_gone(self) -> str:
        """A goodbye may have come while nobody waited for anything."""
        while not self._ended and (frames := self._link.receive(0)) is not None:
            header, _ = decode(frames)
            if header["type"] == "bye" and header["generation"] == self._generation:
                return _left(header)
        return "its process ended or the connection broke"

    def _receive(self, kind: str, step: int | None, patience: float | None = None) -> tuple[Header, Tensors]:
        """Waits for a message of one kind. Pings ask the plugin whether the wait still has a reason."""
        patience = patience or self.deadline
        now = time.monotonic()
        until, ping = now + patience, now + patience / 4
        while now < until:
            if now >= ping and kind == "targets":
                self._signal("ping")
                ping = now + patience / 4
            frames = self._link.receive((min(until, ping) if kind == "targets" else until) - now)
            now = time.monotonic()
            if frames is None:
                if not self._link.up or self._is_lost():
                    raise PeerLost(self._waited(kind, step, "its process ended or the connection broke"))
                continue
            header, tensors = decode(frames)
            if header["type"] == "pong":
                until = now + patience
            elif self._is_answer(header, kind, step):
                return header, tensors
        raise DeadlinePassed(self._waited(kind, step, f"no sign of life for {patience:g} s"))

    def _is_answer(self, header: Header, kind: str, step: int | None) -> bool:
        """Whether this is what was waited for. What ends the wait is raised; what is stale is dropped."""
        got = header["type"]
        if got == "reject":
            raise Rejected(header["code"], self._says(f"does not let it in: {header['message']}", step))
        if header["generation"] != self._generation:
            return False
        if got == "ping":
            self._signal("pong")
        elif got == "error":
            raise BatchError(
                header["code"], header["row"], self._says(f"refused: {header['message']}", header["step"])
            )
        elif got == "bye":
            self._ended = True
            raise PeerLost(self._waited(kind, step, _left(header)))
        return got == kind and (step is None or header.get("step") == step)

    def _welcome(self, message: tuple[Header, Tensors]) -> Welcome:
        header, tensors = message
        prototypes = tensors.get("prototypes")
        if prototypes is not None:
            self.components, self.dim = prototypes.shape
        self._link.watch()
        self._welcomed = True
        self._drops = self._link.drops - (not self._link.up)
        return Welcome(header["step"], header["config"], header["commands"], prototypes)

    def _says(self, what: str, step: int | None) -> str:
        at = "" if step is None else f", step {step}"
        return f'run "{self.run}", rank {self.rank}{at}: the plugin at {self.endpoint} {what}'

    def _waited(self, kind: str, step: int | None, why: str) -> str:
        at = "" if step is None else f" of step {step}"
        awaited = f"waited for {kind}{at} from the plugin at {self.endpoint}"
        return f'run "{self.run}", rank {self.rank}: {awaited}: {why}'


def _left(bye: Header) -> str:
    return f"it left: {bye['reason'] or 'a regular end'}"


def _float32(rows: np.ndarray | torch.Tensor) -> np.ndarray:
    """Rows as contiguous float32 in this process's memory; from a GPU through pinned memory."""
    if isinstance(rows, torch.Tensor):
        host = torch.empty(rows.shape, dtype=torch.float32, device="cpu", pin_memory=rows.is_cuda)
        return host.copy_(rows.detach()).numpy()
    return np.ascontiguousarray(rows, dtype=np.float32)
