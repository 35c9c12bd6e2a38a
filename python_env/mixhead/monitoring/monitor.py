"""`mixhead.monitor`: measures of a script that trains, without a line in its loop."""

from __future__ import annotations

import logging
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from mixhead.monitoring.distinct import last_layer_of
from mixhead.monitoring.images import Images, Source
from mixhead.monitoring.measures import figures, see
from mixhead.monitoring.undisturbed import undisturbed

_log = logging.getLogger("mixhead")
_monitors: dict[str, Monitor] = {}

#: A module, or a method of one.
Part: TypeAlias = "nn.Module | Callable[[Tensor], Tensor]"


def monitor(
    images: Source | tuple[Source, Source],
    encoder: Part,
    head: Part | None = None,
    *,
    every: int = 200,
    limit: int = 4096,
    name: str = "default",
) -> RemovableHandle:
    """From now on `mixhead.stats()` has k-NN, effective rank and use of prototypes too: "knn",
    "effective_rank", "used_by_images", "distinct_used_by_images", "perplexity" (docs/watching.md says what
    they are). The log has them as well.

    They are measured after the first step of the script's optimizer and after every `every`-th one. The
    training feels nothing of it but the time: modes, batch norms, generators and mixtures are afterwards what
    they were. A second monitor of the same `name` takes the place of the first. In a distributed training
    every rank calls this, and measures.

    images: a DataLoader or data set of images with their labels, best un-augmented; or two of them,
        references and queries of the k-NN. A DataLoader may be the training's own. At most `limit` images of
        each are taken.
    encoder: makes features (N, F) of images: the teacher's backbone, or a method of it.
    head: makes logits (N, K) of features: the teacher's head. Without it nothing is said of prototypes. It is
        not kept alive by this; where it is gone, the monitor has ended.
    name: the mixture whose `stats` tell of it. The heads may be joint ones, too.

    Returns a handle, whose `remove()` ends it. What is wrong with images or encoder is an error at the first
    step; later on it is a warning, and ends the monitor.

    Raises TypeError, ValueError.
    """
    for what, value in (("every", every), ("limit", limit)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"monitor: {what} is {value!r}; allowed: whole numbers from 1")
    sources = images if isinstance(images, tuple) else (images,)
    if len(sources) > 2:
        raise ValueError(f"monitor: there are {len(sources)} sources of images; allowed: one, or two")
    parts = [Images(source, limit) for source in sources]
    made = Monitor(parts, encoder, head, every)
    if name in _monitors:
        _monitors[name].handle.remove()
    _monitors[name] = made
    return made.handle


def monitored(name: str) -> dict[str, float]:
    """The last figures of the monitor of that name; none where there is none."""
    return dict(_monitors[name].figures) if name in _monitors else {}


class Monitor:
    """Measures after some of an optimizer's steps: where no pass is under way, and no batch's memory held."""

    def __init__(self, images: list[Images], encoder: Part, head: Part | None, every: int) -> None:
        self._images, self._every = images, every
        self._encoder, head = _bare(encoder), _bare(head)
        _owner(self._encoder)
        # A head that lived on here would still be one of its mixture's when the next training begins.
        self._head = None if head is None else _weakly(head)
        self._counted: Callable[[], Optimizer | None] = lambda: None
        self._steps = 0
        self.figures: dict[str, float] = {}
        self.handle = register_optimizer_step_post_hook(self._stepped)

    def _stepped(self, optimizer: Optimizer, *_: Any) -> None:
        """A script may have several optimizers: the steps of the first one are counted, while there is it."""
        if self._counted() is None:
            self._counted = weakref.ref(optimizer)
        if self._counted() is not optimizer:
            return
        self._steps += 1
        if self._steps > 1 and self._steps % self._every:
            return
        head = self._head and self._head()
        if self._head and head is None:
            self.handle.remove()
            return
        try:
            self.figures = self._measure(head)
        except Exception as error:
            if not self.figures:
                raise
            self.handle.remove()
            warnings.warn(f"the monitor ends at step {self._steps}: {error}", stacklevel=2)
        else:
            told = ", ".join(f"{key} {value:.4g}" for key, value in self.figures.items())
            _log.info("step %d: %s", self._steps, told)

    def _measure(self, head: Part | None) -> dict[str, float]:
        modules = [_owner(part) for part in (self._encoder, head) if part is not None]
        like = next(modules[0].parameters(), torch.empty(0))
        references, *queries = (_like(like, images) for images in self._images)
        with undisturbed(modules, like.device):
            seen = see(references, self._encoder, head)
            asked = see(queries[0], self._encoder, None) if queries else None
            prototypes = None if head is None else last_layer_of(_owner(head), seen.components)
            return figures(seen, asked, prototypes)


def _like(parameter: Tensor, images: Images) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The batches on the parameter's device, and floating ones in its precision."""
    for batch, labels in images:
        yield batch.to(parameter.device, parameter.dtype if batch.is_floating_point() else None), labels


def _bare(called: Any) -> Any:
    """Without the wrapper that would have the ranks talk to each other at every call."""
    return called.module if isinstance(called, DistributedDataParallel) else called


def _weakly(part: Part) -> Callable[[], Part | None]:
    _owner(part)
    return weakref.WeakMethod(part) if isinstance(part, types.MethodType) else weakref.ref(part)


def _owner(part: Part) -> nn.Module:
    """Whose modes are to be set. Raises TypeError where that cannot be told."""
    owner = part.__self__ if isinstance(part, types.MethodType) else part
    if isinstance(owner, nn.Module):
        return owner
    raise TypeError(
        f"monitor: encoder and head are modules or methods of one, and not a {type(owner).__name__}, whose "
        "modules could not be put in evaluation mode"
    )
