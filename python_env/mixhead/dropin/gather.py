"""Gathers the teacher's rows of all ranks, for mixtures that are computed on the ranks' own devices."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


class RowGather:
    """Gathers the rows of all ranks, in rank order, with torch.distributed. Every rank has to call it at the
    same steps. Ranks may have different numbers of rows, or none.

    deadline: how long a rank waits for the others, in seconds.
    """

    def __init__(self, world: int, deadline: float) -> None:
        self._world, self._deadline = world, deadline
        self._counts: dist.ProcessGroup | None = None

    def __call__(self, rows: Tensor) -> tuple[Tensor, slice]:
        """Rows (n, D) of this rank -> rows (N, D) of all ranks, and the slice of them that is this rank's.

        Raises RuntimeError if a rank is lost.
        """
        if self._world == 1:
            return rows, slice(0, len(rows))
        start = time.monotonic()
        try:
            counts = self._exchange(len(rows), rows.is_cuda)
            return self._all(rows, counts), _own(counts, dist.get_rank())
        except (RuntimeError, ValueError) as error:
            late = time.monotonic() - start >= self._deadline
            # Drop the location in torch's source before the reason, and the advice after it.
            reason = re.sub(r"^\[.*?\] ", "", (str(error) or type(error).__name__).splitlines()[0])
            reason = reason.split(". ")[0].rstrip(".")
            why = f"a rank has sent none within {self._deadline:g} s" if late else "a rank has ended"
            raise RuntimeError(
                f"rank {dist.get_rank()}: the teacher's rows of all ranks could not be gathered, "
                f"{why} or cannot be reached ({reason})"
            ) from error

    def _exchange(self, count: int, on_gpu: bool) -> list[int]:
        """The number of rows of each rank, exchanged over the CPU: reading it from a GPU would wait for all
        of its work."""
        if on_gpu and self._counts is None:
            # Created here because creating a group waits for all ranks, and all of them get here together.
            group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self._deadline))
            assert isinstance(group, dist.ProcessGroup)  # every rank is a member
            self._counts = group
        counts = [torch.zeros(1, dtype=torch.int64, device="cpu") for _ in range(self._world)]
        own = torch.tensor([count], dtype=torch.int64, device="cpu")
        self._wait(dist.all_gather(counts, own, group=self._counts, async_op=True))
        return [int(each) for each in counts]

    def _all(self, rows: Tensor, counts: list[int]) -> Tensor:
        """Gathers parts of different length. Collectives need equal shapes, so shorter parts are padded."""
        device = torch.device("cpu") if dist.get_backend() == "gloo" else rows.device
        padded = torch.zeros(max(counts), rows.shape[1], dtype=rows.dtype, device=device)
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        gathering = dist.all_gather(parts, padded, async_op=True)
        if device.type == "cpu":
            self._wait(gathering)
        else:
            gathering.wait()  # makes the stream wait, not this process
        whole = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        return whole.to(rows.device)

    def _wait(self, work: dist.Work) -> None:
        work.wait(timedelta(seconds=self._deadline))


def _own(counts: list[int], rank: int) -> slice:
    start = sum(counts[:rank])
    return slice(start, start + counts[rank])
