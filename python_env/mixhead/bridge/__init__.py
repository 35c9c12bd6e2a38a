"""The wire to the plugin: `Client` is one rank's end of it."""

from mixhead.bridge.client import Client, Targets, Welcome
from mixhead.bridge.errors import BatchError, BridgeError, DeadlinePassed, PeerLost, Rejected

__all__ = [
    "BatchError",
    "BridgeError",
    "Client",
    "DeadlinePassed",
    "PeerLost",
    "Rejected",
    "Targets",
    "Welcome",
]
