"""A client's exchange with the plugin: waits, deadlines, and the runs that arrive meanwhile."""

import secrets
import time
from collections import deque
from typing import Any, NamedTuple

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.device import Device
from mixhead.bridge.errors import BatchError, DeadlinePassed, PeerLost, Rejected, printable
from mixhead.bridge.link import Keys, Link
from mixhead.bridge.protocol import Header
from mixhead.executor import Executor, Outcome

#: The messages in which a run may travel. In others "run" is something else.
_WITH_RUN = ("welcome", "targets", "execute")


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
        self._device = Device(executor, self._send)
        self._inbox: deque[Message] = deque()  # what came before anybody waited for it
        self._welcomed = self._ended = False
        self._drops = 0  # of the link, by the time of the welcome
        self._request: list[Any] = []  # the frames that ask for the step under way

    def _send(self, header: Header, tensors: Tensors | None = None, step: int | None = None) -> list[Any]:
        """Sends a message, and gives its frames."""
        if self._is_lost():
            raise PeerLost(self._says(f"is gone: {self._why_gone()}", step))
        frames = encode({"generation": self._generation, **header}, tensors)
        self._link.send(frames)
        return frames

    def _signal(self, kind: str) -> None:
        """Sends a ping or pong. If the plugin is gone, the wait notices."""
        self._link.send(encode({"type": kind, "generation": self._generation}))

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
            if header["type"] == "bye" and self._is_own(header):
                return _left(header)
        return "its process ended or the connection broke"

    def _receive(self, kind: str, step: int | None, patience: float | None = None) -> Message:
        """Waits for a message of one kind. Now and then it asks for the step again, since a message may have
        been lost, and by a ping whether the wait still has a reason."""
        patience = patience or self.deadline
        now = time.monotonic()
        until, ping, runs = now + patience, now + patience / 4, 0
        while now < until:
            if self._inbox:
                if self._is_answer(message := self._inbox.popleft(), kind, step):
                    return message
                continue
            if now >= ping and kind == "targets":
                if self._request:
                    self._link.send(self._request)
                self._signal("ping")
                ping = now + patience / 4
            frames = self._link.receive((min(until, ping) if kind == "targets" else until) - now)
            now = time.monotonic()
            if frames is None:
                if not self._link.up or self._is_lost():
                    raise PeerLost(self._waited(kind, step, "its process ended or the connection broke"))
                continue
            opened = self._open(frames)
            # The time of a run is not the plugin's silence, but an endless series of runs is no sign of life.
            took, now = time.monotonic() - now, time.monotonic()
            until += took
            if opened is None:
                runs += 1
            elif opened.header["type"] == "pong":
                if self._is_own(opened.header):
                    until = now + patience
            elif self._is_answer(opened, kind, step):
                return opened
        why = f"{runs} runs came, but no answer within" if runs else "no sign of life for"
        raise DeadlinePassed(self._waited(kind, step, f"{why} {patience:g} s"))

    def _open(self, frames: list[Any]) -> Message | None:
        """Decodes a message and executes its run. Returns None if there was only a run, or if the run failed:
        the plugin is told of the failure and answers it."""
        header, tensors = decode(frames)
        carries_run = header["type"] in _WITH_RUN and header["run"] is not None
        if not self._is_own(header) or not carries_run:
            return Message(header, tensors)
        outcome = self._device.carry_out(header, tensors)
        if outcome is None or header["type"] == "execute":
            return None
        return Message(header, tensors, outcome)

    def _is_own(self, header: Header) -> bool:
        """Whether it is meant for this client, not for an earlier one in its place."""
        return header.get("generation") == self._generation

    def _is_answer(self, message: Message, kind: str, step: int | None) -> bool:
        """Whether this is the awaited message. Raises if it ends the wait; stale messages are dropped."""
        header, got = message.header, message.header["type"]
        if got == "reject":
            raise Rejected(header["code"], self._says(f"does not admit it: {header['message']}", step))
        if not self._is_own(header):
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

    def _says(self, what: str, step: int | None) -> str:
        at = "" if step is None else f", step {step}"
        return printable(f'run "{self.run}", rank {self.rank}{at}: the plugin at {self.endpoint} {what}')

    def _waited(self, kind: str, step: int | None, why: str) -> str:
        at = "" if step is None else f" of step {step}"
        awaited = f"waited for {kind}{at} from the plugin at {self.endpoint}"
        return printable(f'run "{self.run}", rank {self.rank}: {awaited}: {why}')


def _left(bye: Header) -> str:
    return f"it left: {bye['reason'] or 'a regular end'}"
