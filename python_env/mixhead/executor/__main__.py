"""``python -m mixhead.executor --endpoint E --run R``: runs a plugin's programs until it says goodbye.

A known failure ends with one sentence and a non-zero exit status.
"""

from __future__ import annotations

import argparse
import sys

import torch

from mixhead.allocation import keep_freed_memory
from mixhead.bridge import BridgeError, Client
from mixhead.executor import Executor


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="mixhead.executor", description="Runs programs of tensor kernels for a plugin."
    )
    parser.add_argument(
        "--endpoint", required=True, help="where the plugin listens: ipc://PATH, tcp://HOST:PORT"
    )
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ...; auto: CUDA if available")
    parser.add_argument(
        "--memory", type=int, help="bytes that the tensors may use; default: all of the device's memory"
    )
    parser.add_argument("--threads", type=int, help="threads of a CPU; default: PyTorch's choice")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds that the start may take")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        executor = Executor(_device(options.device), options.memory)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    client = Client(options.endpoint, options.run, deadline=options.deadline, executor=executor)
    try:
        client.connect()
        client.serve()
    except BridgeError as error:
        print(error, file=sys.stderr)
        client.close(str(error))
        return 1
    client.close()
    return 0


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


if __name__ == "__main__":
    sys.exit(main())
