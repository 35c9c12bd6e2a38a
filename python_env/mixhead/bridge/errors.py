"""Errors between a rank and the plugin. Each sentence names the peer, the step and what was awaited."""


class BridgeError(RuntimeError):
    """The base of all of them."""


class Rejected(BridgeError):
    """The plugin does not let this rank in, or does not take its state."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BatchError(BridgeError):
    """A batch that changed nothing. `row` is counted from 0 in this rank's rows; -1: no row is to blame."""

    def __init__(self, code: str, row: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.row = row
        self.message = message


class PeerLost(BridgeError):
    """The plugin is gone: its process ended, its connection broke, or it said goodbye."""


class DeadlinePassed(BridgeError):
    """The plugin is there, perhaps, but does not answer."""


class ProtocolError(BridgeError):
    """Bytes that are not a message of this protocol."""


#: Characters of a sentence: what the other side says of itself may be long.
_MOST = 2000


def printable(text: str) -> str:
    """A sentence for a terminal: control characters from other processes are escaped."""
    shown = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:_MOST]
    )
    return shown if len(text) <= _MOST else f"{shown}..."
