"""Communication between the ranks of a distributed training."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch.distributed as dist

from mixhead.dropin import machines

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store


@dataclass(frozen=True)
class Ranks:
    """This process as one of the ranks. They communicate through the store of the process group, so that
    they need not call at the same time, as they would with a collective."""

    rank: int
    world: int
    deadline: float  # seconds

    def from_first(self, key: str, make: Callable[[], str]) -> str:
        """Calls `make` in rank 0 and returns its value in every rank. Raises RuntimeError if rank 0 does not
        share it in time."""
        if self.world == 1:
            return make()
        store = self._store()
        if self.rank == 0:
            made = make()
            store.set(key, made)
            return made
        self._wait(store, key, "rank 0 has created no mixture")
        made = store.get(key).decode()
        return made

    def in_turn(self, key: str, action: Callable[[], None]) -> None:
        """Runs `action` in every rank, one after the other in rank order. Returns when all are done."""
        if self.world == 1:
            action()
            return
        store = self._store()
        if self.rank > 0:
            self._wait(store, f"{key}/{self.rank - 1}", f"rank {self.rank - 1} has not done the same")
        action()
        store.set(f"{key}/{self.rank}", "")
        self._wait(store, f"{key}/{self.world - 1}", f"rank {self.world - 1} has not done the same")

    def tell_reach(self, key: str, endpoint: str) -> None:
        """Reports to rank 0 whether this rank can reach the plugin at `endpoint`. Each rank calls it once.

        Raises RuntimeError if it cannot, because it is on another machine than rank 0.
        """
        if self.world == 1 or not machines.is_local(endpoint):
            return
        store = self._store()
        if self.rank == 0:
            store.set(f"{key}/machine", machines.this_machine())
            return
        self._wait(store, f"{key}/machine", "rank 0 has not reported its machine")
        first = store.get(f"{key}/machine").decode()
        out = not machines.reaches(endpoint, first)
        store.set(f"{key}/out-of-reach/{self.rank}", machines.this_machine() if out else "")
        if out:
            raise RuntimeError(machines.out_of_reach(self.rank, machines.this_machine(), first, endpoint))

    def hear_reach(self, key: str, endpoint: str) -> None:
        """Waits, in rank 0, for the reports of all other ranks.

        Raises RuntimeError if one of them cannot reach the plugin, or does not report in time.
        """
        if self.world == 1 or self.rank > 0 or not machines.is_local(endpoint):
            return
        store = self._store()
        for rank in range(1, self.world):
            self._wait(store, f"{key}/out-of-reach/{rank}", f"rank {rank} has not used its head")
            if machine := store.get(f"{key}/out-of-reach/{rank}").decode():
                raise RuntimeError(machines.out_of_reach(rank, machine, machines.this_machine(), endpoint))

    def _store(self) -> Store:
        from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

        return PrefixStore("mixhead", _get_default_store())

    def _wait(self, store: Store, key: str, otherwise: str) -> None:
        try:
            store.wait([key], timedelta(seconds=self.deadline))
        except RuntimeError as error:
            raise RuntimeError(f"rank {self.rank}: {otherwise} within {self.deadline:g} s") from error


def ranks(deadline: float) -> Ranks:
    """The ranks of this process's training. Raises RuntimeError if a launcher started several processes that
    have no process group yet."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size(), deadline)
    said_by, world = _launched()
    if world > 1:
        raise RuntimeError(
            f"{world} processes were started together ({said_by}), but torch.distributed is not initialised: "
            "call torch.distributed.init_process_group before the first use of a head; "
            "for independent trainings set WORLD_SIZE=1 and RANK=0"
        )
    return Ranks(0, 1, deadline)


#: Variables by which launchers (torchrun, srun, mpirun) pass the number of processes and the process's own
#: number. A SLURM batch script has SLURM_NTASKS and SLURM_PROCID=0 as well, though it is a single process.
_LAUNCHERS = (
    ("WORLD_SIZE", "RANK", 0),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", 0),
    ("SLURM_NTASKS", "SLURM_PROCID", 1),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", 0),
    ("PMI_SIZE", "PMI_RANK", 0),
)


def _launched() -> tuple[str, int]:
    """The variable in which a launcher has put the number of processes, and that number; 1 without one."""
    for size, number, least in _LAUNCHERS:
        world, rank = os.environ.get(size, ""), os.environ.get(number, "")
        if world.isdecimal() and rank.isdecimal() and int(rank) >= least:
            return size, int(world)
    return "", 1
