"""The ranks of a world: which one this process is, its part of a batch, and what all of them do together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from mixhead.across_ranks import mean_over_ranks
from mixhead.worker.errors import BadInput

#: How launchers number processes: rank, world, rank on its host. torchrun, then srun.
_LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
#: Seconds that a collective waits for other ranks: Node notices sooner that a step does not come.
_PATIENCE = 1800.0
#: Rank 0 may evaluate for so long while the others wait: it takes what it takes, and Node watches it.
_EVALUATION = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """One process among ``world``. In a world of one nothing is exchanged and every part is the whole."""

    rank: int = 0
    world: int = 1
    local: int = 0  # among those of this host

    @property
    def first(self) -> bool:
        return self.rank == 0

    def begin(self, device: torch.device, meeting: str = "") -> None:
        """Meets the others, who all come with the same ``meeting``: torchrun keeps the store of a world that
        it starts again, with what the one before has left there.

        Raises BadInput where the environment does not say where they meet.
        """
        if self.world == 1:
            return
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        backend = "nccl" if device.type == "cuda" else "gloo"
        patience = timedelta(seconds=_PATIENCE)
        try:
            store, _, _ = next(rendezvous("env://", self.rank, self.world, timeout=patience))
            store = PrefixStore(meeting, store)
            dist.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.world, timeout=patience
            )
        except ValueError as error:
            raise BadInput(
                f"rank {self.rank} of {self.world} does not know where the ranks meet ({error}): "
                "start them with torchrun, or set MASTER_ADDR and MASTER_PORT for all of them"
            ) from error

    def end(self) -> None:
        """Parts from the others, once all have come: rank 0 may hold what they meet at."""
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()

    def part(self, count: int) -> slice:
        """Which of ``count`` things in a row are this rank's."""
        return self.part_of(self.rank, count)

    def part_of(self, rank: int, count: int, block: int = 1) -> slice:
        """Which are a rank's, where no block of so many is parted."""
        blocks = -(-count // block)
        start, stop = (min(count, block * (blocks * each // self.world)) for each in (rank, rank + 1))
        return slice(start, stop)

    def own(self, views: Tensor, count: int) -> Tensor:
        """This rank's part of the views of a batch, view after view: (V B, ...), of ``count`` views."""
        if self.world == 1:
            return views
        by_view: Tensor = views.unflatten(0, (count, -1))
        return by_view[:, self.part(by_view.shape[1])].flatten(0, 1)

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks in rank order; ``counts``: how many each has."""
        if self.world == 1:
            return rows
        padded = self._padded(rows, counts)
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return _joined(parts, counts)

    def gather_at_first(self, rows: Tensor, counts: Sequence[int]) -> Tensor | None:
        """The same in rank 0 alone."""
        if self.world == 1:
            return rows
        padded = self._padded(rows, counts)
        parts = [torch.empty_like(padded) for _ in counts] if self.first else None
        dist.gather(padded, parts)
        return None if parts is None else _joined(parts, counts)

    def _padded(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Collectives take equal shapes."""
        most = max(counts)
        return torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])]).contiguous()

    @torch.no_grad()
    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over the ranks of what each has."""
        return mean_over_ranks(tensor)

    @torch.no_grad()
    def as_first(self, tensors: Sequence[Tensor]) -> None:
        """Gives these tensors the values that they have in rank 0."""
        for tensor in tensors if self.world > 1 else ():
            dist.broadcast(tensor, 0)

    def after_first(self, key: str) -> None:
        """Returns once rank 0 has come by with this key, which is used once; rank 0 goes on at once.

        No collective: those have a deadline, and rank 0 may evaluate for longer.
        """
        if self.world == 1:
            return
        from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

        store = PrefixStore("mixhead", _get_default_store())
        if self.first:
            store.set(key, "")
        else:
            store.wait([key], _EVALUATION)


def _joined(padded: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    return torch.cat([part[:count] for part, count in zip(padded, counts, strict=True)])


ALONE = Ranks()


def ranks_of(environment: Mapping[str, str]) -> Ranks:
    """The rank that a launcher has started this process as; without one it is alone. Raises BadInput."""
    for names in _LAUNCHERS:
        if names[0] not in environment:
            continue
        said = [environment.get(name, "") for name in names]
        if not all(text.isdecimal() for text in said) or int(said[0]) >= int(said[1]):
            told = ", ".join(f"{name}={text}" for name, text in zip(names, said, strict=True))
            raise BadInput(f"the environment does not say which rank this is: {told}")
        rank, world, local = map(int, said)
        # srun may show each task its own GPU alone.
        own = names[0] == "SLURM_PROCID" and torch.cuda.device_count() == 1
        return Ranks(rank, world, 0 if own else local)
    return ALONE


def is_loss_of_others(error: RuntimeError) -> bool:
    """Whether a collective, or a wait for another rank, has failed with this."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def take_gpu(local: int) -> None:
    """Makes a host's GPU number ``local`` this process's. Raises BadInput where there are fewer."""
    count = torch.cuda.device_count()
    if local >= count:
        raise BadInput(
            f"rank {local} of this host has no GPU of its own: there are {count}, so start at most {count} "
            "ranks here, or train with device=cpu"
        )
    torch.cuda.set_device(local)


@dataclass(frozen=True)
class Order:
    """Brings the rows of all ranks into the order that they have in a rank that is alone.

    ``owners`` (N,) says there of each row which rank has it.
    """

    ranks: Ranks
    owners: Tensor

    def whole(self, own: Tensor) -> Tensor:
        """This rank's rows -> those of all ranks (N, ...)."""
        if self.ranks.world == 1:
            return own
        gathered = self.ranks.gather(own, self.owners.bincount(minlength=self.ranks.world).tolist())
        places = self.owners.argsort(stable=True).to(own.device)
        return torch.empty_like(gathered).index_copy_(0, places, gathered)

    def own(self, whole: Tensor) -> Tensor:
        """Rows of all ranks (N, ...) -> this rank's."""
        if self.ranks.world == 1:
            return whole
        return whole[(self.owners == self.ranks.rank).to(whole.device)]


def order_of(ranks: Ranks, batch: int, views: int, mask: Tensor | None) -> Order:
    """Of a step's teacher rows: ``views`` of each of ``batch`` images, and the masked patches after them.

    ``mask`` (views batch, rows, columns) is that of all ranks.
    """
    images = torch.arange(batch).repeat(views)
    if mask is not None:
        images = torch.cat([images, images[mask.flatten(1).nonzero()[:, 0]]])
    return Order(ranks, images * ranks.world // batch)
