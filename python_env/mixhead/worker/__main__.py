"""``python -m mixhead.worker``: one rank of a run. A known failure ends with one sentence.

Node starts it with ``--endpoint``, directly or through torchrun. On other hosts a user starts it with
``--connect``, through torchrun or srun. The launcher passes the rank in the environment, unless ``--rank``
gives it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mixhead.allocation import keep_freed_memory
from mixhead.bridge.client import Client, Welcome
from mixhead.bridge.errors import BatchError, BridgeError, Rejected
from mixhead.bridge.keys import read_keys
from mixhead.worker.errors import BadInput, WorkerError, WriteFailed
from mixhead.worker.loop import train
from mixhead.worker.ranks import Ranks, is_loss_of_others, ranks_of, take_gpu
from mixhead.worker.spans import VARIABLE, Spans, TimedExecutor

_RETRY_SECONDS = 0.5

#: Exit statuses that Node distinguishes: bad input, and EX_IOERR of sysexits.h.
_STATUS: dict[type[Exception], int] = {BadInput: 2, WriteFailed: 74}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mixhead.worker", description="One rank of a training run.")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--endpoint", help="where the plugin listens: ipc://PATH, tcp://HOST:PORT")
    place.add_argument("--connect", help="the endpoint of a `mixhead train --listen` on another host")
    parser.add_argument("--keys", type=Path, help="the folder of `mixhead train --keys`, or its client.json")
    # torchrun would read --run as an option of its own.
    parser.add_argument("--name", "--run", dest="run", required=True, help="name of the run")
    parser.add_argument("--mixture", default="default", help="name of the mixture")
    parser.add_argument("--rank", type=int, help="this rank's number; default: the launcher's")
    parser.add_argument("--world", type=int, default=1, help="number of ranks, used with --rank")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds that any wait may take")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--memory", type=int, help="bytes that a mixture on this rank's device may use")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    keys = None
    try:
        ranks = ranks_of(os.environ) if options.rank is None else Ranks(options.rank, options.world)
        if device.type == "cuda":
            take_gpu(ranks.local)
        if options.keys is not None:
            keys = read_keys(options.keys / "client.json" if options.keys.is_dir() else options.keys)
    except (BadInput, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if not ranks.first:
        os.environ.pop(VARIABLE, None)  # a trace covers one rank
    span = Spans(device)

    def client() -> Client:
        return Client(
            options.endpoint or options.connect,
            options.run,
            options.mixture,
            ranks.rank,
            ranks.world,
            deadline=options.deadline,
            keys=keys,
            executor=TimedExecutor(span, device, options.memory),
        )

    return work(client, ranks, device, span)


def work(connection: Callable[[], Client], ranks: Ranks, device: torch.device, span: Spans) -> int:
    """Trains, says goodbye, and returns the exit status.

    If another rank caused the failure, this one gives no reason, so that the other's reason is reported.
    """
    client = connection()
    try:
        client, welcome = joined(client, connection, ranks)
        with span:
            train(client, welcome, ranks, device, span)
    except torch.cuda.OutOfMemoryError as error:
        return _fail(client, f"the GPU's memory is full: {str(error).splitlines()[0]}")
    except (WorkerError, BridgeError) as error:
        if isinstance(error, BatchError) and error.code == "peer":
            return _fail(client, str(error), reason="")
        return _fail(client, str(error), status=_STATUS.get(type(error), 1))
    except RuntimeError as error:
        if not is_loss_of_others(error):
            raise
        first = (str(error) or type(error).__name__).splitlines()[0]
        return _fail(client, f"rank {ranks.rank}: another rank has ended, or cannot be reached: {first}", "")
    client.close()
    with contextlib.suppress(RuntimeError):  # the work is done, even if the other ranks have left
        ranks.end()
    return 0


def joined(client: Client, connection: Callable[[], Client], ranks: Ranks) -> tuple[Client, Welcome]:
    """Connects the client, or a new one, until the plugin admits it.

    Restarted ranks retry until the plugin has noticed that their predecessors are gone.
    """
    until = time.monotonic() + client.deadline
    while True:
        try:
            return client, client.connect()
        except Rejected as error:
            client.close()
            if error.code != "busy" or ranks.world == 1 or time.monotonic() > until:
                raise
        time.sleep(_RETRY_SECONDS)
        client = connection()


def _fail(client: Client, sentence: str, reason: str | None = None, status: int = 1) -> int:
    print(sentence, file=sys.stderr)
    client.close(sentence if reason is None else reason)
    return status


if __name__ == "__main__":
    sys.exit(main())
