"""The images that a monitor looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler

#: A source of images: batches, or a data set that can be batched.
Source: TypeAlias = "DataLoader[Any] | Dataset[Any] | Iterable[Any]"

_BATCH = 256
_NAMES = "image", "label"  # keys of a batch that is a dict


class Images:
    """At most `limit` images of a source, the same ones at every pass.

    From a data set, a random sample is drawn once. A DataLoader is never iterated itself, because the
    training may be in the middle of it; a second one over the same data set is. Any other source gives its
    first batches.
    """

    def __init__(self, source: Source, limit: int) -> None:
        """Raises TypeError if the source can be iterated only once, or not at all."""
        self._limit = limit
        if isinstance(source, DataLoader):
            source = _beside(source, limit)
        elif isinstance(source, Dataset) and not isinstance(source, IterableDataset):
            source = DataLoader(Subset(source, _drawn(range(_length(source)), limit)), batch_size=_BATCH)
        elif isinstance(source, Iterator) or not isinstance(source, Iterable):
            raise TypeError(
                f"monitor: images come from a {type(source).__name__}, which cannot be passed over again; "
                "allowed: a DataLoader, a data set, or a list of batches"
            )
        self._batches: Iterable[Any] = source

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields images (n, ...) and their labels (n,), or None if there are none.

        Raises TypeError if a batch has another form.
        """
        left = self._limit
        for batch in self._batches:
            images, labels = _parts(batch)
            yield images[:left], labels if labels is None else labels[:left]
            left -= len(images)
            if left <= 0:
                return


def _beside(loader: DataLoader[Any], limit: int) -> DataLoader[Any]:
    """A second loader over the same data."""
    dataset, size = loader.dataset, loader.batch_size
    if not isinstance(dataset, IterableDataset) and (size or loader.batch_sampler):
        sampler = loader.sampler
        positions = sampler.indices if isinstance(sampler, SubsetRandomSampler) else range(_length(dataset))
        dataset = Subset(dataset, _drawn(positions, limit))
        size = size or getattr(loader.batch_sampler, "batch_size", None) or _BATCH
    return DataLoader(
        dataset,
        batch_size=size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


def _length(dataset: Dataset[Any]) -> int:
    return len(dataset)  # type: ignore[arg-type]  # torch leaves __len__ out of Dataset


def _drawn(positions: Sequence[int], limit: int) -> list[int]:
    """A random sample, since many data sets are sorted by class."""
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))
    return [int(positions[place]) for place in order[:limit].tolist()]


def _parts(batch: Any) -> tuple[Tensor, Tensor | None]:
    """The images of a batch (of several views, the first) and its labels."""
    if isinstance(batch, Mapping):
        images, labels = (batch.get(name) for name in _NAMES)
    elif isinstance(batch, (tuple, list)) and batch:
        images, labels = batch[0], batch[1] if len(batch) > 1 else None
    else:
        images, labels = batch, None
    if isinstance(images, (tuple, list)) and images:
        images = images[0]
    if not isinstance(images, Tensor):
        raise TypeError(
            f"monitor: a batch begins with a {type(images).__name__}; allowed: images as a tensor, a tuple "
            'of images and labels, or a dict with the keys "image" and "label"'
        )
    if isinstance(labels, Tensor) and labels.shape == images.shape[:1] and not labels.is_floating_point():
        return images, labels.long()
    return images, None
