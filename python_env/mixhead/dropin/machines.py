"""Which machine a rank is on, and whether a plugin on another one's can be reached."""

from __future__ import annotations

import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOCAL = ("ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:")


def this_machine() -> str:
    """What tells this machine, or container, from others: its name, and on Linux its boot."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    return f"{socket.gethostname()} {boot}".strip()


def is_local(endpoint: str) -> bool:
    """Whether only processes of one machine can reach an endpoint."""
    return endpoint.startswith(_LOCAL)


def reaches(endpoint: str, machine: str) -> bool:
    """Whether this process sees a local endpoint of `machine`, whose containers may not share /tmp."""
    socket_file = endpoint.removeprefix("ipc://")
    return machine == this_machine() and (socket_file == endpoint or Path(socket_file).exists())


def out_of_reach(rank: int, machine: str, first: str, endpoint: str) -> str:
    """The sentence for a rank on `machine` that does not reach rank 0's plugin on the machine `first`."""
    where, there = machine.split()[0], first.split()[0]
    return (
        f"rank {rank} on {where} cannot reach rank 0's plugin on {there} ({endpoint}): ranks on several "
        "machines, or in containers of their own, need a plugin that all of them reach: start "
        "`mixhead serve --endpoint tcp://HOST:PORT --keys FOLDER`, and set MIXHEAD_ENDPOINT, and "
        "MIXHEAD_KEYS to FOLDER/client.json, for every rank"
    )
