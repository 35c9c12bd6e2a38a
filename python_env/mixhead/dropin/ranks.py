"""The ranks of a distributed training, as far as a mixture has to know them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """This process among its fellows. What goes from one to another goes through the group's own store,
    where nobody has to call at the same time, as he would with a collective."""

    rank: int
    world: int
    deadline: float  # seconds

    def from_first(self, key: str, make: Callable[[], str]) -> str:
        """What rank 0 made, in every rank. Raises RuntimeError where rank 0 does not tell in time."""
        if self.world == 1:
            return make()
        store = self._store()
        if self.rank == 0:
            made = make()
            store.set(key, made)
            return made
        self._wait(store, key, "rank 0 has made no mixture")
        return store.get(key).decode()

    def in_turn(self, key: str, action: Callable[[], None]) -> None:
        """`action` in every rank, one after the other in their order; returns when all have done it."""
        if self.world == 1:
            action()
            return
        store = self._store()
        if self.rank > 0:
            self._wait(store, f"{key}/{self.rank - 1}", f"rank {self.rank - 1} has not done the same")
        action()
        store.set(f"{key}/{self.rank}", "")
        self._wait(store, f"{key}/{self.world - 1}", f"rank {self.world - 1} has not done the same")

    def must_share_a_host(self) -> None:
        """Raises RuntimeError where torchrun says that there are ranks on other machines."""
        if int(os.environ.get("LOCAL_WORLD_SIZE", self.world)) < self.world:
            raise RuntimeError(
                "the ranks run on several machines and need a plugin that all of them reach: start "
                "`mixhead serve --endpoint tcp://HOST:PORT --keys FOLDER`, and set MIXHEAD_ENDPOINT, and "
                "MIXHEAD_KEYS to FOLDER/client.json, for every rank"
            )

    def _store(self) -> dist.Store:
        return dist.PrefixStore("mixhead", dist.distributed_c10d._get_default_store())

    def _wait(self, store: dist.Store, key: str, otherwise: str) -> None:
        try:
            store.wait([key], timedelta(seconds=self.deadline))
        except RuntimeError as error:
            raise RuntimeError(f"rank {self.rank}: {otherwise} within {self.deadline:g} s") from error


def ranks(deadline: float) -> Ranks:
    """Raises RuntimeError where a launcher started several processes that have no process group yet."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size(), deadline)
    if os.environ.get("TORCHELASTIC_RUN_ID") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RuntimeError(
            "torchrun started several processes, but torch.distributed is not initialised: "
            "call torch.distributed.init_process_group before the first use of a head"
        )
    return Ranks(0, 1, deadline)
