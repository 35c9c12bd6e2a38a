"""A real rank whose mixture lies on its device: what peer.py does, and what a step gave and cost."""

import base64
import sys
from pathlib import Path

import numpy as np
import torch

from mixhead.bridge import Client
from mixhead.bridge.codec import decode
from mixhead.executor import Executor

sys.path.insert(0, str(Path(__file__).parents[1] / "bridge"))
from peer import Peer, answer


def whole(array):
    """All bits of a float32 array."""
    if array is None:
        return None
    array = np.asarray(array, np.float32)
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def rows_of(rows):
    """None among the numbers is NaN; what is too large for float32 is infinite."""
    with np.errstate(over="ignore"):
        return np.array(rows, np.float32)


class Rank(Peer):
    """`traffic`: type and bytes of each message, pings apart."""

    def open(self, memory=None, version=None, **options):
        self.close()  # one that was not admitted
        executor = Executor("cpu", memory)
        if version is not None:
            executor.version = version
        self.client = Client(**options, executor=executor)
        self.executor, self.traffic = executor, {"sent": [], "received": []}
        link = self.client._link
        send, arrived = link.send, link.arrived

        def sending(frames):
            self.count("sent", frames)
            send(frames)

        def arriving():
            frames = arrived()
            if frames is not None:
                self.count("received", frames)
            return frames

        link.send, link.arrived = sending, arriving

    def count(self, way, frames):
        header, tensors = decode([bytes(frame) for frame in frames])
        kind = header.__struct_config__.tag
        if kind not in ("ping", "pong"):
            size = sum(memoryview(frame).nbytes for frame in frames)
            self.traffic[way].append({"type": kind, "bytes": size, "tensors": sorted(tensors)})

    def connect(self, start=None):
        return self.welcomed(self.client.connect(None if start is None else np.array(start, np.float32)))

    def begin(self, start):
        """The mixture begins anew at these prototypes."""
        return self.welcomed(self.client.load_state(0, {"prototypes": np.array(start, np.float32)}))

    def whole_state(self):
        """The mixture's state, whole."""
        step, state = self.client.request_state()
        return {"step": step, "state": {name: whole(tensor) for name, tensor in state.items()}}

    def load_whole(self, step, state):
        """Has the mixture go on from such a state."""
        arrays = {
            name: np.frombuffer(base64.b64decode(tensor["data"]), np.float32).reshape(tensor["shape"])
            for name, tensor in state.items()
        }
        return self.welcomed(self.client.load_state(step, arrays))

    def welcomed(self, welcome):
        return {"step": welcome.step, "prototypes": whole(welcome.prototypes)}

    def take(self, step, rows):
        """A step on rows that are announced."""
        h = torch.tensor(rows_of(rows))
        self.client.send_embeddings(step, 0, h, {}, len(h))
        answer = self.client.receive_targets(step)
        return {
            "scalars": answer.scalars,
            "prototypes": whole(answer.prototypes),
            "targets": whole(answer.targets),
            "handles": len(self.executor.handles),
        }

    def measured(self):
        """The traffic since it was asked for last."""
        traffic, self.traffic = self.traffic, {"sent": [], "received": []}
        return traffic

    def spoil(self, by):
        """Changes the first prototype where it is, as a broken device would."""
        self.executor.prototypes[0] += by


if __name__ == "__main__":
    answer(Rank())
