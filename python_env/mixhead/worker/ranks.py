"""The ranks of a training: this process's rank, its part of a batch, and collective operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from mixhead.across_ranks import mean_over_ranks
from mixhead.worker.errors import BadInput

#: The variables in which torchrun and srun pass the rank, the number of ranks, and the rank on its host.
_LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
#: Seconds that a collective operation waits for other ranks. Node notices a missing step much sooner.
_PATIENCE = 1800.0
#: How long the others wait while rank 0 evaluates. In effect there is no limit; Node supervises rank 0.
_EVALUATION = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """This process as one of ``world`` ranks. A single rank exchanges nothing, and its part is the whole."""

    rank: int = 0
    world: int = 1
    local: int = 0  # the rank among those of this host

    @property
    def first(self) -> bool:
        return self.rank == 0

    def begin(self, device: torch.device, meeting: str = "") -> None:
        """Joins the process group.

        Args:
            device: The device to train on, which decides the backend.
            meeting: A key that all ranks of this start share. After a restart, torchrun's store still holds
                entries of the previous start, which have another key.

        Raises:
            BadInput: If the environment does not say where the ranks meet.
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
        """Leaves the process group once all ranks are done, because rank 0 may host its store."""
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()

    def part(self, count: int) -> slice:
        """This rank's slice of ``count`` items."""
        return self.part_of(self.rank, count)

    def part_of(self, rank: int, count: int, block: int = 1) -> slice:
        """A rank's slice of ``count`` items. Blocks of ``block`` items are not divided."""
        blocks = -(-count // block)
        start, stop = (min(count, block * (blocks * each // self.world)) for each in (rank, rank + 1))
        return slice(start, stop)

    def own(self, views: Tensor, count: int) -> Tensor:
        """This rank's part of a batch with ``count`` = V views of B images, (V B, ...), view after view."""
        if self.world == 1:
            return views
        by_view: Tensor = views.unflatten(0, (count, -1))
        return by_view[:, self.part(by_view.shape[1])].flatten(0, 1)

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Gathers the rows of all ranks, in rank order. ``counts``: the number of rows of each rank."""
        if self.world == 1:
            return rows
        padded = self._padded(rows, counts)
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return _joined(parts, counts)

    def gather_at_first(self, rows: Tensor, counts: Sequence[int]) -> Tensor | None:
        """As ``gather``, but only rank 0 gets the rows; the others get None."""
        if self.world == 1:
            return rows
        padded = self._padded(rows, counts)
        parts = [torch.empty_like(padded) for _ in counts] if self.first else None
        dist.gather(padded, parts)
        return None if parts is None else _joined(parts, counts)

    def _padded(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows, padded to the largest count: collective operations need equal shapes."""
        most = max(counts)
        return torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])]).contiguous()

    @torch.no_grad()
    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of the ranks' tensors."""
        return mean_over_ranks(tensor)

    @torch.no_grad()
    def as_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites these tensors with those of rank 0."""
        for tensor in tensors if self.world > 1 else ():
            dist.broadcast(tensor, 0)

    def after_first(self, key: str) -> None:
        """Waits until rank 0 has called this with the same key. Rank 0 itself does not wait.

        Each key may be used once. This is not a collective operation, because those have a deadline, and rank
        0 may evaluate for longer.
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
    """Reads this process's rank from the launcher's variables. Without a launcher it is the only rank.

    Raises BadInput if the variables are incomplete or contradict each other.
    """
    for names in _LAUNCHERS:
        if names[0] not in environment:
            continue
        said = [environment.get(name, "") for name in names]
        if not all(text.isdecimal() for text in said) or int(said[0]) >= int(said[1]):
            told = ", ".join(f"{name}={text}" for name, text in zip(names, said, strict=True))
            raise BadInput(f"the environment does not say which rank this is: {told}")
        rank, world, local = map(int, said)
        # srun can hide the other GPUs from each task.
        own = names[0] == "SLURM_PROCID" and torch.cuda.device_count() == 1
        return Ranks(rank, world, 0 if own else local)
    return ALONE


def is_loss_of_others(error: RuntimeError) -> bool:
    """Whether the error means that another rank is lost."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def take_gpu(local: int) -> None:
    """Makes the host's GPU number ``local`` the current device. Raises BadInput if there are too few GPUs."""
    count = torch.cuda.device_count()
    if local >= count:
        raise BadInput(
            f"rank {local} on this host has no GPU of its own: the host has {count}, so start at most "
            f"{count} ranks here, or train with device=cpu"
        )
    torch.cuda.set_device(local)


@dataclass(frozen=True)
class Order:
    """The order of all ranks' rows, which is the order that they would have in a single rank.

    ``owners``: the rank that has each row, (N,).
    """

    ranks: Ranks
    owners: Tensor

    def whole(self, own: Tensor) -> Tensor:
        """This rank's rows -> the rows of all ranks, (N, ...)."""
        if self.ranks.world == 1:
            return own
        gathered = self.ranks.gather(own, self.owners.bincount(minlength=self.ranks.world).tolist())
        places = self.owners.argsort(stable=True).to(own.device)
        return torch.empty_like(gathered).index_copy_(0, places, gathered)

    def own(self, whole: Tensor) -> Tensor:
        """The rows of all ranks, (N, ...) -> this rank's rows."""
        if self.ranks.world == 1:
            return whole
        return whole[(self.owners == self.ranks.rank).to(whole.device)]


def order_of(ranks: Ranks, batch: int, views: int, mask: Tensor | None) -> Order:
    """The order of a step's teacher rows: those of all views, then those of masked patches.

    Args:
        ranks: The ranks.
        batch: The number of images of all ranks.
        views: The number of global views of each image.
        mask: The masked patches of all ranks, (views batch, rows, columns) bool; None if there are none.
    """
    images = torch.arange(batch).repeat(views)
    if mask is not None:
        images = torch.cat([images, images[mask.flatten(1).nonzero()[:, 0]]])
    return Order(ranks, images * ranks.world // batch)
