"""A real rank for the tests: reads calls of a Client as JSON lines, writes what they gave as JSON lines."""

import hashlib
import json
import sys
import time

import numpy as np
import torch

from mixhead.bridge import BridgeError, Client, Keys
from mixhead.executor import Executor

torch.set_num_threads(1)


def summary(array):
    """A small array whole, any array by its hash."""
    if array is None:
        return None
    if isinstance(array, torch.Tensor):
        array = array.numpy()
    whole = array.tolist() if array.size <= 64 else None
    return {"shape": list(array.shape), "hash": hashlib.sha256(array.tobytes()).hexdigest(), "data": whole}


def rows(spec):
    """None; a list of rows; or {n, d, seed}: torch rows of unit length."""
    if spec is None or isinstance(spec, list):
        return None if spec is None else np.array(spec, np.float32)
    generator = torch.Generator().manual_seed(spec["seed"])
    return torch.nn.functional.normalize(torch.randn(spec["n"], spec["d"], generator=generator), dim=1)


def plain(value):
    """JSON has no NaN: it travels as text."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return "NaN" if isinstance(value, float) and value != value else value


class Peer:
    def __init__(self):
        self.client = None

    def open(self, keys=None, device=None, **options):
        executor = None if device is None else Executor(device)
        self.client = Client(**options, keys=Keys(**keys) if keys else None, executor=executor)

    def connect(self, start=None):
        welcome = self.client.connect(None if start is None else np.array(start, np.float32))
        return {**welcome.__dict__, "prototypes": summary(welcome.prototypes)}

    def send(self, step, rows_=None, epoch=0, scalars=None, announced=0):
        h = rows(rows_)
        self.client.send_embeddings(step, epoch, h, scalars or {}, announced)
        return summary(h.numpy() if isinstance(h, torch.Tensor) else h)

    def receive(self, step):
        answer = self.client.receive_targets(step)
        arrays = {name: summary(getattr(answer, name)) for name in ("rows", "indices", "targets", "prototypes")}
        return {**answer.__dict__, **arrays}

    def step(self, step, rows_=None, **more):
        self.send(step, rows_, **more)
        return self.receive(step)

    def result(self, command, step, **more):
        tensors = {name: np.array(value, np.int32) for name, value in more.pop("tensors", {}).items()}
        self.client.send_result(command, step, tensors=tensors, **more)

    def state(self):
        step, state = self.client.request_state()
        return {"step": step, "state": {name: summary(value) for name, value in state.items()}}

    def load(self, step, state):
        arrays = {name: np.array(value, np.float32) for name, value in state.items()}
        welcome = self.client.load_state(step, arrays)
        return {"step": welcome.step}

    def serve(self):
        return self.client.serve()

    def loop(self, steps, n, d):
        """Seconds of each round trip."""
        h, seconds = rows({"n": n, "d": d, "seed": 0}), []
        for step in range(steps):
            start = time.perf_counter()
            self.client.send_embeddings(step, 0, h, {})
            self.client.receive_targets(step)
            seconds.append(time.perf_counter() - start)
        return seconds

    def close(self, reason=""):
        if self.client:
            self.client.close(reason)


def answer(peer):
    """Does what the lines of standard input say until there are no more."""
    print(json.dumps({"ok": "ready"}), flush=True)
    for line in sys.stdin:
        call, arguments = json.loads(line)
        began = time.perf_counter()
        try:
            reply = {"ok": plain(getattr(peer, call)(**arguments))}
        except (BridgeError, RuntimeError, ValueError) as error:
            details = {name: getattr(error, name, None) for name in ("code", "row")}
            reply = {"error": {"name": type(error).__name__, "message": str(error), **details}}
        print(json.dumps({**reply, "seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    answer(Peer())
