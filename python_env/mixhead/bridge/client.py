"""One rank's end of the wire to the plugin."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from msgspec import UNSET, structs

from mixhead.bridge import protocol
from mixhead.bridge.codec import Tensors
from mixhead.bridge.conversation import Conversation
from mixhead.bridge.errors import DeadlinePassed, PeerLost, ProtocolError, Rejected
from mixhead.bridge.link import Keys
from mixhead.bridge.protocol import NEWEST_VERSION, OLDEST_VERSION, Command
from mixhead.bridge.targets import Targets, read_targets, require_rows
from mixhead.executor import Executor, Outcome

_HELLO_AGAIN = 2.0  # seconds
_LOOK_AGAIN = 0.5  # seconds until it is looked at again whether handshakes fail


@dataclass(frozen=True)
class Welcome:
    """The plugin's answer to a rank that joins."""

    step: int  # the next step that it expects
    config: str  # the run's configuration as JSON
    commands: list[Command]  # to carry out before the first step
    prototypes: np.ndarray | torch.Tensor | None  # (K, D) float32; a tensor if they are on the device


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


class Client(Conversation):
    """A rank's connection to the plugin. Not for two threads at once.

    components, dim: K and D as the rank knows them; 0: those of the plugin.
    deadline: seconds that any wait may take without a sign of life.
    config: the settings that this rank asks for, as JSON; "": those of the plugin.
    executor: executes the plugin's programs if the mixture may lie on this rank's device. It
        begins with nothing, and is this client's alone.
    secret: the run's. A run that begins with one can be continued only with it. "": none.
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
        executor: Executor | None = None,
        secret: str = "",
    ) -> None:
        super().__init__(endpoint, run, rank, deadline, keys, executor)
        self.mixture, self.world = mixture, world
        self.components, self.dim = components, dim
        self.config = config
        self._secret = secret
        self._pid = os.getpid()
        self._sent = 0  # rows of the step that is asked for

    @_in_own_process
    def connect(self, start: np.ndarray | None = None) -> Welcome:
        """Joins the run, whichever side starts first. `start`: the (K, D) prototypes that this rank holds.

        Raises Rejected, DeadlinePassed, PeerLost.
        """
        tensors = {} if start is None else {"prototypes": _float32(start)}
        executor, device = self._device.described
        hello = protocol.Hello(
            version=NEWEST_VERSION,
            run=self.run,
            mixture=self.mixture,
            rank=self.rank,
            world=self.world,
            components=self.components,
            dim=self.dim,
            generation=self._generation,
            start="" if start is None else hashlib.sha256(tensors["prototypes"].tobytes()).hexdigest(),
            config=self.config,
            executor=executor,
            device=device,
            oldest=OLDEST_VERSION,
            secret=self._secret,
            capabilities=["sparse"],
        )
        self._link.connect(self.endpoint)
        until, drops = time.monotonic() + self.deadline, 0
        while (left := until - time.monotonic()) > 0:
            if not self._link.up:
                self._link.wait_until_up(min(left, _LOOK_AGAIN))
                if self._link.refused:
                    says = self._says(f"does not admit it: {self._link.refused}", None)
                    raise Rejected("keys", says)
                continue
            if self._link.drops != drops:  # another plugin, perhaps, whose runs begin with nothing
                self._device.begin()
                drops = self._link.drops
            self._send(hello, tensors)
            try:
                return self._welcome(*self._receive(protocol.Welcome, None, min(_HELLO_AGAIN, left)))
            except (DeadlinePassed, PeerLost):
                continue  # a plugin that is being started again
            except Rejected as error:
                if error.code != "version" or hello.version == OLDEST_VERSION:
                    raise
                # A plugin of version 2 says no more than that.
                later = {"oldest": UNSET, "secret": UNSET, "capabilities": UNSET}
                hello = structs.replace(hello, version=OLDEST_VERSION, **later)
        why = "it is there, but does not answer"
        if not self._link.up:
            why = "is it running, and are the endpoint and keys right?"
        raise DeadlinePassed(self._waited("a welcome", None, f"{why} ({self.deadline:g} s)"))

    @_in_own_process
    def send_embeddings(
        self,
        step: int,
        epoch: int,
        rows: np.ndarray | torch.Tensor | None,
        scalars: Mapping[str, float],
        announced: int = 0,
    ) -> None:
        """Asks for a step. `rows`: (N, D), copied before this returns; None: only the clock is wanted.

        announced: N if the rows stay on the executor's device, which holds those of all ranks.
        """
        tensors = self._device.take_metrics()
        if announced:
            self._device.announce(rows, announced)
        elif rows is not None:
            tensors["h"] = _float32(rows)
        self._sent = 0 if rows is None else len(rows)
        header = protocol.Embeddings(self._generation, step, epoch, dict(scalars), announced)
        self._request = self._send(header, tensors, step)

    @_in_own_process
    def receive_targets(self, step: int) -> Targets:
        """Waits for the answer to `send_embeddings(step, ...)`.

        Raises BatchError, PeerLost, DeadlinePassed.
        """
        try:
            header, tensors, outcome = self._receive(protocol.Targets, step)
        finally:
            self._request = []
        made = self._device.targets(outcome)
        answer = read_targets(header, tensors, self._sent, self.components, self.dim, made)
        return answer if outcome is None else replace(answer, prototypes=self._device.prototypes)

    @property
    def connected(self) -> bool:
        """Whether the connection stood when it was last looked at."""
        return self._link.up

    @property
    def reads(self) -> int:
        """The number of runs so far that read values, a round trip each."""
        return self._device.reads

    @_in_own_process
    def poll(self) -> None:
        """Carries out what has arrived, without waiting for anything: the runs of a step begin early."""
        while (frames := self._link.arrived()) is not None:
            message = self._open(frames)
            if message is not None and not isinstance(message.header, protocol.Ping):
                self._inbox.append(message)

    @_in_own_process
    def serve(self) -> str:
        """Carries out runs until the plugin says goodbye, and gives its reason. Raises PeerLost."""
        while True:
            frames = self._link.receive(self.deadline)
            if frames is None and self._is_lost():
                raise PeerLost(self._waited("a goodbye", None, "its process ended or the connection broke"))
            message = None if frames is None else self._open(frames)
            header = None if message is None else message.header
            if isinstance(header, protocol.Bye) and self._is_own(header):
                self._ended = True
                return header.reason

    @_in_own_process
    def send_result(
        self,
        command: Command,
        step: int,
        scalars: Mapping[str, float] | None = None,
        text: Mapping[str, str] | None = None,
        tensors: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Reports what a command gave, after `step` steps."""
        header = protocol.Result(self._generation, command, step, dict(scalars or {}), dict(text or {}))
        self._send(header, dict(tensors or {}), step)

    @_in_own_process
    def request_state(self) -> tuple[int, Tensors]:
        """The mixture's whole state, and the steps that it has taken."""
        self._send(protocol.State(self._generation, 0))
        header, tensors, _ = self._receive(protocol.State, None)
        for name, tensor in tensors.items():
            if tensor.dtype != np.float32:
                raise ProtocolError(
                    f'the plugin sent a state whose "{name:.100}" is {tensor.dtype}, not float32'
                )
        return header.step, tensors

    @_in_own_process
    def load_state(self, step: int, state: Mapping[str, np.ndarray]) -> Welcome:
        """Has the mixture continue from a state that was saved after `step` steps. Raises Rejected."""
        self._send(protocol.Load(self._generation, step), dict(state), step)
        return self._welcome(*self._receive(protocol.Welcome, step))

    def close(self, reason: str = "") -> None:
        """Says goodbye, frees the socket and what the executor holds. Harmless when repeated.

        An empty reason is a regular end.
        """
        if os.getpid() != self._pid:
            return
        deliver = self._welcomed and not self._is_lost()
        if deliver:
            self._send(protocol.Bye(self._generation, reason))
        self._ended = True
        self._device.begin()
        self._link.close(deliver=deliver)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close("" if kind is None else f"{kind.__name__}: {error}")

    def _welcome(self, header: protocol.Welcome, tensors: Tensors, _outcome: Outcome | None) -> Welcome:
        prototypes = tensors.get("prototypes", self._device.prototypes)
        if isinstance(prototypes, np.ndarray):
            require_rows(prototypes, self.components, self.dim, "prototypes")
        if prototypes is not None:
            self.components, self.dim = prototypes.shape
        self._link.watch()
        self._welcomed = True
        self._drops = self._link.drops - (not self._link.up)
        return Welcome(header.step, header.config, header.commands, prototypes)


def _float32(rows: np.ndarray | torch.Tensor) -> np.ndarray:
    """A copy of rows as contiguous float32 in this process's memory; from a GPU through pinned memory."""
    if isinstance(rows, torch.Tensor):
        host = torch.empty(rows.shape, dtype=torch.float32, device="cpu", pin_memory=rows.is_cuda)
        return host.copy_(rows.detach()).numpy()
    return np.array(rows, dtype=np.float32, order="C")
