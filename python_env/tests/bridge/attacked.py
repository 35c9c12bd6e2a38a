"""A real client for test/fuzz: calls what it has until its server says "enough", and counts the outcomes.

    python -m tests.bridge.attacked ENDPOINT SEED

Prints how often a call gave what, as JSON: "taken", or the class of the error. An error that is not a
BridgeError ends it with a stack trace.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch

from mixhead.bridge import BridgeError, Client, PeerLost, Rejected
from mixhead.executor import Executor

_DIM = 16
_CALLS = 100  # of one client
_DEADLINE = 5.0  # seconds
_QUIET_MS = 5


def main(endpoint: str, seed: int) -> None:
    torch.set_num_threads(1)
    chance, outcomes = random.Random(seed), Counter()
    rows = np.ones((4, _DIM), np.float32)
    while True:
        executor = Executor(torch.device("cpu")) if chance.random() < 0.5 else None
        client = Client(endpoint, "attacked", deadline=_DEADLINE, executor=executor)
        step, arrived = 0, client._link.arrived

        def counted(arrived: Callable[[], list | None] = arrived) -> list | None:
            frames = arrived()
            outcomes["messages read"] += frames is not None
            return frames

        client._link.arrived = counted

        def train(client: Client = client) -> None:
            nonlocal step
            client.send_embeddings(step, 0, rows, {})
            client.receive_targets(step)
            step += 1

        others: list[Callable[[], object]] = [
            client.request_state,
            lambda client=client: client.load_state(3, {"sums": rows}),
            client.poll,
        ]
        calls = [client.connect, *(chance.choice([train, train, *others]) for _ in range(_CALLS))]
        try:
            for call in calls:
                raised = outcome_of(call)
                outcomes[type(raised).__name__ if raised else "taken"] += 1
                if isinstance(raised, PeerLost):
                    break
                if isinstance(raised, Rejected) and raised.message.endswith("enough"):
                    print(json.dumps(outcomes))
                    return
                while client._link._socket.poll(_QUIET_MS):  # what else has come
                    if left := outcome_of(client.poll):
                        outcomes[type(left).__name__] += 1
        finally:
            client.close()


def outcome_of(call: Callable[[], object]) -> BridgeError | None:
    try:
        call()
    except BridgeError as error:
        return error
    return None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
