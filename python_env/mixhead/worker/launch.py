"""Starts workers for the TypeScript side and supervises them.

This file runs in three processes:

- The control process, which Node starts through pythonia. Node calls only `answer`: JSON in, JSON out, never
  an
  exception and never a NaN.
- A worker (a trainer or an executor): `python -m mixhead.worker.launch work MODULE ...`. It ends when its
  standard input closes, which happens when the control process ends. The control process ends with Node.
- torchrun: `python -m mixhead.worker.launch ranks N RESTARTS MODULE ...`. Its N ranks are workers, and end
  with
  it.

All of them ignore the signals that a scheduler sends to every process of a job, because Node decides how to
react. Only the standard library is imported, so that the control process stays small.
"""

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "lightly",
    "numpy",
    "scikit-learn",
    "safetensors",
    "pyzmq",
    "msgspec",
)
MODULE = "mixhead.worker.launch"
#: The packages that may run as a worker. Each has a `main` in its `__main__`.
WORKERS = ("mixhead.worker", "mixhead.executor")
TAIL_BYTES = 8192
_SOURCE = Path(__file__).resolve().parents[2]


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    log: str
    log_start: int


_workers: dict[int, _Worker] = {}


def answer(text: str) -> str:
    """Carries out one request, `{"do": ACTION, ...}`. Returns `{"ok": ...}` or `{"error": sentence}`."""
    try:
        request = json.loads(text)
        action = _ACTIONS[request.pop("do")]
        return json.dumps({"ok": action(**request)}, allow_nan=False)
    except Exception as error:  # pythonia would turn an exception into one of JavaScript's
        return json.dumps({"error": f"{type(error).__name__}: {error}"})


def _begin() -> int:
    """Ignores the terminal's and the scheduler's signals, and ends this process when its parent ends."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)  # workers inherit this
    os.setsid()
    os.dup2(2, 1)  # standard output is reserved for Node's results
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    return os.getpid()


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    if os.getpgrp() == os.getpid():
        _kill_group(os.getpid())
    os._exit(1)


def _preflight(gpus: bool) -> dict[str, Any]:
    """Describes this Python. torch has to be imported to find GPUs: in another process, or it would stay."""
    if not gpus:
        return describe([])
    command = [sys.executable, "-m", MODULE, "describe"]
    done = subprocess.run(
        command, env=_environment({}), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def _launch(
    id: int,
    module: str,
    arguments: list[str],
    env: dict[str, str],
    log: str,
    ranks: int | None = None,
    restarts: int = 0,
) -> int:
    """Starts a worker, or torchrun with ``ranks`` of them, in a session of its own. Returns its pid."""
    if module not in WORKERS:
        raise ValueError(f"{module} is not a worker; allowed: {', '.join(WORKERS)}")
    life = ["work"] if ranks is None else ["ranks", str(ranks), str(restarts)]
    with open(log, "ab") as file:
        start = file.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *life, module, *arguments],
            env=_environment(env),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _workers[id] = _Worker(process, log, start)
    return process.pid


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """The environment of a child. It finds this package first, so that both run the same version."""
    paths = [str(_SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **extra}


def _reap() -> list[dict[str, Any]]:
    """The workers that have ended since the last call, each with the end of its output."""
    ended = {id: worker for id, worker in _workers.items() if _has_ended(worker.process.pid)}
    return [{"id": id, **_bury(_workers.pop(id))} for id in ended]


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _bury(worker: _Worker) -> dict[str, Any]:
    pid = worker.process.pid
    _kill_group(pid)  # the worker's own children; nobody else can get this pid before the wait below
    status = worker.process.wait()
    if worker.process.stdin:
        worker.process.stdin.close()
    tail = ""
    # The worker's end must be reported even if its log cannot be read.
    with contextlib.suppress(OSError), open(worker.log, "rb") as file:
        file.seek(max(worker.log_start, os.path.getsize(worker.log) - TAIL_BYTES))
        tail = file.read().decode(errors="replace")
    name = signal.Signals(-status).name if status < 0 else None
    return {"pid": pid, "code": None if status < 0 else status, "signal": name, "tail": tail}


def _stop(id: int) -> None:
    """Kills a worker and its children."""
    if id in _workers:
        # Not Popen.kill: it would collect the status of a worker that has just ended, which `_reap` needs.
        _kill_group(_workers[id].process.pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


_ACTIONS: dict[str, Callable[..., Any]] = {
    "begin": _begin,
    "preflight": _preflight,
    "launch": _launch,
    "reap": _reap,
    "stop": _stop,
}


def find_gpus() -> list[str]:
    """The names of the GPUs that torch can use."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def describe(gpus: list[str]) -> dict[str, Any]:
    """The versions and devices of this Python."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": sys.executable,
        "versions": versions,
        "cuda": len(gpus) > 0,
        "devices": ["cpu", *(f"cuda:{index} {name}" for index, name in enumerate(gpus))],
    }


def work(module: str, arguments: list[str]) -> int:
    """Runs a worker until it is done, or until the control process or torchrun ends."""
    _end_with_starters()
    gc.disable()  # a fifth of the time that importing torch takes goes into collecting nothing
    program = importlib.import_module(f"{module}.__main__")
    gc.enable()
    status: int = program.main(arguments)
    return status


def run_ranks(ranks: str, restarts: str, module: str, arguments: list[str]) -> int:
    """Runs torchrun until its ranks are done or the control process ends. Returns the status of the rank that
    failed first."""
    _end_with_starters()
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = [
        "--standalone",
        "--local-addr=127.0.0.1",
        f"--nproc-per-node={ranks}",
        f"--max-restarts={restarts}",
        "--signals-to-handle=SIGQUIT",  # Node handles those of a scheduler
        "--shutdown-timeout=5",
        "--module",
    ]
    torchrun = run.parse_args([*options, MODULE])
    torchrun.training_script_args = ["work", module, *arguments]  # torchrun would read --run as its own
    try:
        run.run(torchrun)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        how = f"ended with status {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        print(f"rank {rank} (process {failure.pid}) {how}", file=sys.stderr)
        return max(code, 1)
    return 0


def _end_with_starters() -> None:
    """Ends this process when standard input closes, as the control process ends, or when its parent ends."""
    threading.Thread(target=_end_with_control, daemon=True).start()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_control() -> None:
    while os.read(0, 1):
        pass
    _kill_group(os.getpid())  # this process leads a group that includes its data loaders


if __name__ == "__main__":
    if sys.argv[1] == "describe":
        print(json.dumps(describe(find_gpus())))
    elif sys.argv[1] == "ranks":
        sys.exit(run_ranks(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]))
    else:
        sys.exit(work(sys.argv[2], sys.argv[3:]))
