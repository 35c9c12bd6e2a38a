"""The teacher's rows of all ranks, in every rank: where the mixture is computed on the ranks' own devices."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class RowGather:
    """Brings the rows of all ranks together, in rank order, by torch.distributed. Every rank makes one, at the
    same time, and calls it at the same steps. Ranks may have different numbers of rows, or none."""

    def __init__(self, world: int, device: torch.device) -> None:
        self._world = world
        # How many rows there are is exchanged between the processes: asking a GPU would wait for all its work.
        self._counts = dist.new_group(backend="gloo") if world > 1 and device.type == "cuda" else None

    def __call__(self, rows: Tensor) -> tuple[Tensor, slice]:
        """rows (n, D) of this rank -> (N, D) of all, and which of them are this rank's.

        Raises RuntimeError with one sentence where a rank is lost.
        """
        if self._world == 1:
            return rows, slice(0, len(rows))
        try:
            counts = self._exchange(len(rows))
            return _all(rows, counts), _own(counts, dist.get_rank())
        except (RuntimeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RuntimeError(
                f"rank {dist.get_rank()}: the teacher's rows of all ranks could not be gathered: {reason}"
            ) from error

    def _exchange(self, count: int) -> list[int]:
        counts = [torch.zeros(1, dtype=torch.int64, device="cpu") for _ in range(self._world)]
        own = torch.tensor([count], dtype=torch.int64, device="cpu")
        dist.all_gather(counts, own, group=self._counts)
        return [int(each) for each in counts]


def _all(rows: Tensor, counts: list[int]) -> Tensor:
    """Collectives take equal shapes: shorter parts are filled up, and cut again."""
    most = max(counts)
    padded = rows.new_zeros(most, rows.shape[1])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded.contiguous())
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _own(counts: list[int], rank: int) -> slice:
    start = sum(counts[:rank])
    return slice(start, start + counts[rank])
