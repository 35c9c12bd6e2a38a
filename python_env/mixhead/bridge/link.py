"""The socket under a client: frames out and in, and whether the other end is there."""

import time
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from mixhead.bridge.protocol import FRAME_BYTES

_HEARTBEAT_MS, _SILENCE_MS = 2000, 6000
_LINGER_MS = 1000


@dataclass(frozen=True)
class Keys:
    """CURVE, for TCP beyond loopback: 40 characters of Z85 each. `zmq.curve_keypair()` makes a pair."""

    server: str  # the plugin's public key
    public: str  # this client's, which the plugin has on its list
    secret: str


#: The reason of a failed handshake by its code; without a code the other side ended it.
_NO_KEYS_THERE = {zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH}
_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
#: Handshakes that fail for so many seconds, and never succeed, fail because of the keys.
_PATIENCE = 2.5


class Link:
    """A connection that mends itself. `up`: it stands; `drops`: how often it has broken."""

    def __init__(self, keys: Keys | None) -> None:
        self.up, self.drops = False, 0
        self._refused = ""
        self._failing_since: float | None = None  # no handshake has succeeded since
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TTL, _SILENCE_MS)
        if keys is not None:
            self._socket.curve_serverkey = keys.server.encode()
            self._socket.curve_publickey = keys.public.encode()
            self._socket.curve_secretkey = keys.secret.encode()
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _FAILURES
        self._monitor = self._socket.get_monitor_socket(events)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def connect(self, endpoint: str) -> None:
        """Begins to connect. Raises ValueError if the endpoint is invalid."""
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            sentence = f'"{endpoint}" is not an endpoint (ipc://PATH or tcp://HOST:PORT): {error}'
            raise ValueError(sentence) from error

    def wait_until_up(self, seconds: float) -> None:
        """Waits for something to happen to the connection, at most so long."""
        self._monitor.poll(int(seconds * 1000))
        self.watch()

    def watch(self) -> None:
        """Reads what has happened to the connection. A pending receive does not tell."""
        while self._monitor.poll(0):
            message = recv_monitor_message(self._monitor)
            if message["event"] & _FAILURES:
                self._note_failure(message["event"], message["value"])
                continue
            self.up = message["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self.drops += not self.up
            if self.up:
                self._refused, self._failing_since = "", None

    def _note_failure(self, event: int, value: int) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._refused = "this client's key is not on its list, or was revoked"
        elif value in _NO_KEYS_THERE:
            self._refused = "one side has keys and the other has none"

    @property
    def refused(self) -> str:
        """Why handshakes with the other side keep failing; "" if they do not, or if it is not known yet."""
        if self._refused or self._failing_since is None:
            return self._refused
        if time.monotonic() - self._failing_since < _PATIENCE:
            return ""
        return "it breaks every handshake off; is that its public key?"

    def send(self, frames: list[bytes | memoryview]) -> None:
        """Queues a message, copied: its memory is the caller's again."""
        self._socket.send_multipart(frames)

    def receive(self, seconds: float) -> list[Any] | None:
        """The next message's frames; None if the connection changed or the time passed.

        Messages that arrived before a connection broke come first.
        """
        self._poller.poll(int(seconds * 1000 + 1))
        if (frames := self.arrived()) is None:
            self.watch()
        return frames

    def arrived(self) -> list[Any] | None:
        """A message's frames, if one is there already."""
        if not self._socket.poll(0):
            return None
        return [frame.buffer for frame in self._socket.recv_multipart(copy=False)]

    def close(self, *, deliver: bool) -> None:
        """Frees the socket; `deliver`: after what is queued has left, or a second has passed."""
        if self._context.closed:
            return
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(_LINGER_MS if deliver else 0)
        self._context.term()
