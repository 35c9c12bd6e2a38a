"""The other end of a connection, which says what a test wants."""

from typing import Any

import numpy as np
import zmq

from mixhead.bridge.codec import decode, encode
from mixhead.bridge.protocol import NEWEST_VERSION
from mixhead.executor import Run

#: A run that does nothing, as it travels.
NOTHING = {
    "seq": 1,
    "program": "",
    "inputs": [],
    "base": 0,
    "free": [],
    "reads": [],
    "literals": b"",
    "rows": -1,
    "metrics": -1,
    "prototypes": -1,
    "targets": -1,
    "forget": False,
}


class Plugin:
    def __init__(self, context: zmq.Context) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.generation = ""

    def receive(self) -> tuple[dict, dict]:
        assert self.socket.poll(10_000)
        self.peer, *frames = self.socket.recv_multipart()
        return decode(frames)

    def send(self, header: dict, **tensors: np.ndarray) -> None:
        self.socket.send_multipart([self.peer, *encode(header, tensors)])

    def hello(self) -> dict:
        """Waits for a client that says hello."""
        header, _ = self.receive()
        self.generation = header["generation"]
        return header

    def welcome(self, run: Run | None = None) -> dict:
        """Lets a client in that says hello. Without a run it gets prototypes of ones and zeros (3, 2)."""
        hello = self.hello()
        header = {"type": "welcome", "version": NEWEST_VERSION, "generation": self.generation, "step": 0}
        tensors = tensors_of(run) if run else {"prototypes": np.eye(3, 2, dtype=np.float32)}
        self.send({**header, "config": "{}", "commands": [], "run": run and fields_of(run)}, **tensors)
        return hello

    def execute(self, run: Run) -> None:
        header = {"type": "execute", "generation": self.generation, "run": fields_of(run)}
        self.send(header, **tensors_of(run))

    def targets(self, step: int, run: Run | None = None, **tensors: np.ndarray) -> None:
        header = {"type": "targets", "generation": self.generation, "step": step, "scalars": {}}
        made = tensors_of(run) if run else {}
        self.send({**header, "commands": [], "run": run and fields_of(run)}, **tensors, **made)


def fields_of(run: Run) -> dict[str, Any]:
    """A run as headers carry it."""
    fields = {name: getattr(run, name) for name in NOTHING}
    lists = {name: list(fields[name]) for name in ("inputs", "free", "reads")}
    return {**fields, **lists, "literals": run.literals.tobytes()}


def tensors_of(run: Run) -> dict[str, np.ndarray]:
    tensors = {f"upload.{handle}": array for handle, array in run.uploads.items()}
    if run.definition is not None:
        tensors["definition"] = np.frombuffer(run.definition, np.uint8)
    return tensors
