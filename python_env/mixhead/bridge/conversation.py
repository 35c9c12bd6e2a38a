"""A client's exchange with the plugin: waits, deadlines, and the runs that arrive meanwhile."""

import secrets
import time
from collections import deque
from typing import Any, NamedTuple, TypeGuard, TypeVar

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.device import Device
from mixhead.bridge.errors import BatchError, DeadlinePassed, PeerLost, Rejected, printable
from mixhead.bridge.link import Keys, Link
from mixhead.bridge.protocol import Bye, Error, Execute, Header, Ping, Pong, Reject, Targets, Welcome
from mixhead.executor import Executor, Outcome

_Header = TypeVar("_Header", bound=Header)


class Message(NamedTuple):
    """A message of the plugin's, and what the run in it gave."""

    header: Header
    tensors: Tensors
    outcome: Outcome | None = None


class Conversation:
    """A rank's messages to the plugin and back. Whatever it waits for, it carries out the runs that come."""

    def __init__(
        self,
        endpoint: str,
        run: str,
        rank: int,
        deadline: float,
        keys: Keys | None,
        executor: Executor | None,
    ) -> None:
        self.endpoint, self.run, self.rank, self.deadline = endpoint, run, rank, deadline
        self._generation = secrets.token_hex(8)
        self._link = Link(keys)
        self._device = Device(executor, self._generation, self._send)
        self._inbox: deque[Message] = deque()  # what came before anybody waited for it
        self._welcomed = self._ended = False
        self._drops = 0  # of the link, by the time of the welcome
        self._request: list[Any] = []  # the frames that ask for the step under way

    def _send(self, header: Header, tensors: Tensors | None = None, step: int | None = None) -> list[Any]:
        """Sends a message, and gives its frames."""
        if self._is_lost():
            raise PeerLost(self._says(f"is gone: {self._why_gone()}", step))
        frames = encode(header, tensors)
        self._link.send(frames)
        return frames

    def _is_lost(self) -> bool:
        """Before the welcome a connection that breaks is mended, after it that is the end."""
        if not self._ended:
            self._link.watch()
        return self._ended or (self._welcomed and self._link.drops > self._drops)

    def _why_gone(self) -> str:
        """Reads a goodbye that arrived between two waits."""
        headers = [message.header for message in self._inbox]
        while not self._ended and (frames := self._link.receive(0)) is not None:
            headers.append(decode(frames)[0])
        for header in headers:
            if isinstance(header, Bye) and self._is_own(header):
                return _left(header)
        return "its process ended or the connection broke"

    def _receive(
        self, kind: type[_Header], step: int | None, patience: float | None = None
    ) -> tuple[_Header, Tensors, Outcome | None]:
        """Waits for a message of one kind. Now and then it asks for the step again, since a message may have
        been lost, and by a ping whether the wait still has a reason."""
        patience = patience or self.deadline
        what, asks_again = kind.__name__.lower(), kind is Targets
        now = time.monotonic()
        until, ping, runs = now + patience, now + patience / 4, 0
        while now < until:
            if self._inbox:
                header, tensors, outcome = self._inbox.popleft()
                if self._is_answer(header, kind, step):
                    return header, tensors, outcome
                continue
            if now >= ping and asks_again:
                if self._request:
                    self._link.send(self._request)
                self._link.send(encode(Ping(self._generation)))
                ping = now + patience / 4
            frames = self._link.receive((min(until, ping) if asks_again else until) - now)
            now = time.monotonic()
            if frames is None:
                if not self._link.up or self._is_lost():
                    raise PeerLost(self._waited(what, step, "its process ended or the connection broke"))
                continue
            opened = self._open(frames)
            # The time of a run is not the plugin's silence, but an endless series of runs is no sign of life.
            took, now = time.monotonic() - now, time.monotonic()
            until += took
            if opened is None:
                runs += 1
                continue
            header, tensors, outcome = opened
            if isinstance(header, Pong):
                if self._is_own(header):
                    until = now + patience
            elif self._is_answer(header, kind, step):
                return header, tensors, outcome
        why = f"{runs} runs came, but no answer within" if runs else "no sign of life for"
        raise DeadlinePassed(self._waited(what, step, f"{why} {patience:g} s"))

    def _open(self, frames: list[Any]) -> Message | None:
        """Decodes a message and executes its run. Returns None if there was only a run, or if the run failed:
        the plugin is told of the failure and answers it."""
        header, tensors = decode(frames)
        run = header.run if isinstance(header, Welcome | Targets | Execute) else None
        if not self._is_own(header) or run is None:
            return Message(header, tensors)
        outcome = self._device.carry_out(run, tensors)
        if outcome is None or isinstance(header, Execute):
            return None
        return Message(header, tensors, outcome)

    def _is_own(self, header: Header) -> bool:
        """Whether it is meant for this client, not for an earlier one in its place."""
        return getattr(header, "generation", None) == self._generation

    def _is_answer(self, header: Header, kind: type[_Header], step: int | None) -> TypeGuard[_Header]:
        """Whether this is the awaited message. Raises if it ends the wait; stale messages are dropped."""
        if isinstance(header, Reject):
            raise Rejected(header.code, self._says(f"does not admit it: {header.message}", step))
        if not self._is_own(header):
            return False
        if isinstance(header, Ping):
            self._link.send(encode(Pong(self._generation)))
        elif isinstance(header, Error):
            raise BatchError(header.code, header.row, self._says(f"refused: {header.message}", header.step))
        elif isinstance(header, Bye):
            self._ended = True
            raise PeerLost(self._waited(kind.__name__.lower(), step, _left(header)))
        return isinstance(header, kind) and (step is None or getattr(header, "step", None) == step)

    def _says(self, what: str, step: int | None) -> str:
        at = "" if step is None else f", step {step}"
        return printable(f'run "{self.run}", rank {self.rank}{at}: the plugin at {self.endpoint} {what}')

    def _waited(self, kind: str, step: int | None, why: str) -> str:
        at = "" if step is None else f" of step {step}"
        awaited = f"waited for {kind}{at} from the plugin at {self.endpoint}"
        return printable(f'run "{self.run}", rank {self.rank}: {awaited}: {why}')


def _left(bye: Bye) -> str:
    return f"it left: {bye.reason or 'a regular end'}"
