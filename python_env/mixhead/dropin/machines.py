"""Identifies machines, and tells whether a rank can reach a plugin on another one."""

from __future__ import annotations

import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOCAL = ("ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:")


def this_machine() -> str:
    """Identifies this machine or container: its host name, and on Linux the ID of its boot."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    return f"{socket.gethostname()} {boot}".strip()


def is_local(endpoint: str) -> bool:
    """Whether an endpoint can be reached only from its own machine."""
    return endpoint.startswith(_LOCAL)


def reaches(endpoint: str, machine: str) -> bool:
    """Whether this process can reach a local endpoint on `machine`. Its containers may not share /tmp."""
    socket_file = endpoint.removeprefix("ipc://")
    return machine == this_machine() and (socket_file == endpoint or Path(socket_file).exists())


def out_of_reach(rank: int, machine: str, first: str, endpoint: str) -> str:
    """The error sentence for a rank on `machine` that cannot reach rank 0's plugin on `first`."""
    where, there = machine.split()[0], first.split()[0]
    return (
        f"rank {rank} on {where} cannot reach rank 0's plugin on {there} ({endpoint}): ranks on several "
        "machines, or in containers of their own, need a plugin that all of them reach: start "
        "`mixhead serve --endpoint tcp://HOST:PORT --keys FOLDER`, and set MIXHEAD_ENDPOINT, and "
        "MIXHEAD_KEYS to FOLDER/client.json, for every rank"
    )
