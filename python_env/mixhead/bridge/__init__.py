"""The wire to the plugin: `Client` is one rank's end of it."""

from mixhead.bridge.client import Client, Welcome
from mixhead.bridge.errors import BatchError, BridgeError, DeadlinePassed, PeerLost, Rejected
from mixhead.bridge.link import Keys
from mixhead.bridge.targets import Targets

__all__ = [
    "BatchError",
    "BridgeError",
    "Client",
    "DeadlinePassed",
    "Keys",
    "PeerLost",
    "Rejected",
    "Targets",
    "Welcome",
]
