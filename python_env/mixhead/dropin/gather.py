"""The teacher's rows of all ranks, in every rank: where the mixture is computed on the ranks' own devices."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


class RowGather:
    """Brings the rows of all ranks together, in rank order, by torch.distributed. Every rank has one, and
    calls it at the same steps. Ranks may have different numbers of rows, or none.

    deadline: seconds that a rank waits for the others.
    """

    def __init__(self, world: int, deadline: float) -> None:
        self._world, self._deadline = world, deadline
        self._counts: dist.ProcessGroup | None = None

    def __call__(self, rows: Tensor) -> tuple[Tensor, slice]:
        """rows (n, D) of this rank -> (N, D) of all, and which of them are this rank's.

        Raises RuntimeError with one sentence where a rank is lost.
        """
        if self._world == 1:
            return rows, slice(0, len(rows))
        start = time.monotonic()
        try:
            counts = self._exchange(len(rows), rows.is_cuda)
            return self._all(rows, counts), _own(counts, dist.get_rank())
        except (RuntimeError, ValueError) as error:
            late = time.monotonic() - start >= self._deadline
            # Without the place in torch's source before it, and the advice after it.
            reason = re.sub(r"^\[.*?\] ", "", (str(error) or type(error).__name__).splitlines()[0])
            reason = reason.split(". ")[0].rstrip(".")
            why = f"a rank has brought none within {self._deadline:g} s" if late else "a rank has ended"
            raise RuntimeError(
                f"rank {dist.get_rank()}: the teacher's rows of all ranks could not be gathered, "
                f"{why} or cannot be reached ({reason})"
            ) from error

    def _exchange(self, count: int, on_gpu: bool) -> list[int]:
        """How many rows each rank has, between the processes: asking a GPU would wait for all its work."""
        if on_gpu and self._counts is None:
            # Made here, where every rank comes by at the same time: what makes it waits for all of them.
            self._counts = dist.new_group(backend="gloo", timeout=timedelta(seconds=self._deadline))
        counts = [torch.zeros(1, dtype=torch.int64, device="cpu") for _ in range(self._world)]
        own = torch.tensor([count], dtype=torch.int64, device="cpu")
        self._wait(dist.all_gather(counts, own, group=self._counts, async_op=True))
        return [int(each) for each in counts]

    def _all(self, rows: Tensor, counts: list[int]) -> Tensor:
        """Collectives take equal shapes: shorter parts are filled up, and cut again."""
        device = torch.device("cpu") if dist.get_backend() == "gloo" else rows.device
        padded = torch.zeros(max(counts), rows.shape[1], dtype=rows.dtype, device=device)
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        gathering = dist.all_gather(parts, padded, async_op=True)
        if device.type == "cpu":
            self._wait(gathering)
        else:
            gathering.wait()  # in the stream alone: this process goes on
        whole = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        return whole.to(rows.device)

    def _wait(self, work: dist.Work) -> None:
        work.wait(timedelta(seconds=self._deadline))


def _own(counts: list[int], rank: int) -> slice:
    start = sum(counts[:rank])
    return slice(start, start + counts[rank])
