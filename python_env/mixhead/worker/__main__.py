"""``python -m mixhead.worker --endpoint E --run R``: one rank of a run. A known failure is one sentence."""

from __future__ import annotations

import argparse
import sys

import torch

from mixhead.allocation import keep_freed_memory
from mixhead.bridge.client import Client
from mixhead.bridge.errors import BridgeError
from mixhead.worker.errors import BadInput, WorkerError, WriteFailed
from mixhead.worker.loop import train
from mixhead.worker.spans import Spans, TimedExecutor

#: What Node tells apart: bad input, and EX_IOERR of sysexits.h.
_STATUS = {BadInput: 2, WriteFailed: 74}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mixhead.worker", description="One rank of a training run.")
    parser.add_argument(
        "--endpoint", required=True, help="where the plugin listens: ipc://PATH, tcp://HOST:PORT"
    )
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--mixture", default="default", help="name of the mixture")
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--world", type=int, default=1, help="number of ranks")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds that any wait may take")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--memory", type=int, help="bytes that a mixture on this rank's device may take")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    span = Spans(device)
    client = Client(
        options.endpoint,
        options.run,
        options.mixture,
        options.rank,
        options.world,
        deadline=options.deadline,
        executor=TimedExecutor(span, device, options.memory),
    )
    try:
        if options.world != 1:
            raise WorkerError("the worker trains on one rank; several would have to average their gradients")
        with span:
            train(client, options.rank, span)
    except (WorkerError, BridgeError) as error:
        print(error, file=sys.stderr)
        client.close(str(error))
        return _STATUS.get(type(error), 1)
    except torch.cuda.OutOfMemoryError as error:
        sentence = f"the GPU's memory is full: {str(error).splitlines()[0]}"
        print(sentence, file=sys.stderr)
        client.close(sentence)
        return 1
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
