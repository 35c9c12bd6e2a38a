"""``python -m mixhead.worker --endpoint E --run R``: one rank of a run. A known failure is one sentence."""

from __future__ import annotations

import argparse
import ctypes
import platform
import sys

import torch

from mixhead.bridge.client import Client
from mixhead.bridge.errors import BridgeError
from mixhead.worker.errors import BadInput, WorkerError
from mixhead.worker.loop import train


def keep_freed_memory() -> None:
    """Lets glibc keep what is freed, for the next step. Page faults were a tenth of a step on a CPU."""
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3  # as in malloc.h
        libc = ctypes.CDLL(None)
        # Older versions take 32 MB at most.
        _ = libc.mallopt(m_mmap_threshold, 1 << 30) or libc.mallopt(m_mmap_threshold, 32 << 20)
        libc.mallopt(m_trim_threshold, 1 << 30)
        libc.mallopt(m_top_pad, 64 << 20)


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
    options = parser.parse_args(arguments)
    keep_freed_memory()
    client = Client(
        options.endpoint,
        options.run,
        options.mixture,
        options.rank,
        options.world,
        deadline=options.deadline,
    )
    try:
        if options.world != 1:
            raise WorkerError("the worker trains on one rank; several would have to average their gradients")
        train(client, options.rank)
    except (WorkerError, BridgeError) as error:
        print(error, file=sys.stderr)
        client.close(str(error))
        return 2 if isinstance(error, BadInput) else 1
    except torch.cuda.OutOfMemoryError as error:
        sentence = f"the GPU's memory is full: {str(error).splitlines()[0]}"
        print(sentence, file=sys.stderr)
        client.close(sentence)
        return 1
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
