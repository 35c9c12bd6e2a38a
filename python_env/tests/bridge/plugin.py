"""The other end of a connection, which says what a test wants."""

import numpy as np
import zmq

from mixhead.bridge.codec import Tensors, decode, encode
from mixhead.bridge.protocol import NEWEST_VERSION, Execute, Header, Hello, RunInfo, Targets, Welcome
from mixhead.executor import Run


class Plugin:
    def __init__(self, context: zmq.Context) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.generation = ""

    def receive(self) -> tuple[Header, Tensors]:
        assert self.socket.poll(10_000)
        self.peer, *frames = self.socket.recv_multipart()
        return decode(frames)

    def send(self, header: Header, **tensors: np.ndarray) -> None:
        self.socket.send_multipart([self.peer, *encode(header, tensors)])

    def hello(self) -> Hello:
        """Waits for a client that says hello."""
        header, _ = self.receive()
        self.generation = header.generation
        return header

    def welcome(self, run: Run | None = None) -> Hello:
        """Lets a client in that says hello. Without a run it gets prototypes of ones and zeros (3, 2)."""
        hello = self.hello()
        tensors = tensors_of(run) if run else {"prototypes": np.eye(3, 2, dtype=np.float32)}
        self.send(Welcome(NEWEST_VERSION, self.generation, 0, "{}", [], run and info_of(run)), **tensors)
        return hello

    def execute(self, run: Run) -> None:
        self.send(Execute(self.generation, info_of(run)), **tensors_of(run))

    def targets(self, step: int, run: Run | None = None, **tensors: np.ndarray) -> None:
        made = tensors_of(run) if run else {}
        self.send(Targets(self.generation, step, {}, [], run and info_of(run)), **tensors, **made)


def info_of(run: Run) -> RunInfo:
    """A run as headers carry it."""
    fields = {name: getattr(run, name) for name in RunInfo.__struct_fields__}
    return RunInfo(**{**fields, "literals": run.literals.tobytes()})


def tensors_of(run: Run) -> dict[str, np.ndarray]:
    tensors = {f"upload.{handle}": array for handle, array in run.uploads.items()}
    if run.definition is not None:
        tensors["definition"] = np.frombuffer(run.definition, np.uint8)
    return tensors
