"""`mixhead.monitor`: measures a training script without a line in its loop."""

from __future__ import annotations

import logging
import types
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
from mixhead.warn import warn

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
    """Measures k-NN accuracy, effective rank and use of prototypes while the script trains.

    Adds "knn", "effective_rank", "used_by_images", "distinct_used_by_images" and "perplexity" to
    `mixhead.stats()` and to the log (docs/watching.md describes them). They are measured after the first
    step of the script's optimizer and after every `every`-th one. This costs time but does not change the
    training: modes, batch norms, random generators and mixtures are restored.

    A second monitor of the same `name` replaces the first. In a distributed training every rank calls this
    and measures. If the images or the encoder are unusable, the first step raises an error; a later failure
    is a warning and ends the monitor.

    Args:
        images: A DataLoader or data set of labelled images, best without augmentation, or a pair of them:
            references and queries of the k-NN. The training's own DataLoader may be used.
        encoder: Turns images into features (N, F): the teacher's backbone, or a method of it.
        head: Turns features into logits (N, K): the teacher's head, of either kind. Without it prototypes
            are not measured. The monitor does not keep the head alive, and ends when it is deleted.
        every: Steps between two measurements, from 1.
        limit: The largest number of images used of each source, from 1.
        name: The mixture whose `stats` receive the measurements.

    Returns:
        A handle. `remove()` ends the monitor.

    Raises:
        TypeError: If a source, the encoder or the head is of the wrong type.
        ValueError: If `every` or `limit` is below 1, or if there are more than two sources.

    Example:
        >>> mixhead.monitor(val_loader, teacher.backbone, teacher.head, every=500)
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
    """The last figures of the monitor of that name; empty if there is none."""
    return dict(_monitors[name].figures) if name in _monitors else {}


class Monitor:
    """Measures after an optimizer's step, when no pass is under way and no batch's activations are held."""

    def __init__(self, images: list[Images], encoder: Part, head: Part | None, every: int) -> None:
        self._images, self._every = images, every
        self._encoder, head = _bare(encoder), _bare(head)
        _owner(self._encoder)
        # A strong reference would keep the head in its mixture when the next training begins.
        self._head = None if head is None else _weakly(head)
        self._counted: Callable[[], Optimizer | None] = lambda: None
        self._steps = 0
        self.figures: dict[str, float] = {}
        self.handle = register_optimizer_step_post_hook(self._stepped)

    def _stepped(self, optimizer: Optimizer, *_: Any) -> None:
        """Counts the steps of the first optimizer for as long as it exists; a script may have several."""
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
            warn(f"the monitor ends at step {self._steps}: {error}")
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
    """The batches on the parameter's device, floating-point ones in its precision."""
    for batch, labels in images:
        yield batch.to(parameter.device, parameter.dtype if batch.is_floating_point() else None), labels


def _bare(called: Any) -> Any:
    """Unwraps DistributedDataParallel, whose every call communicates between ranks."""
    return called.module if isinstance(called, DistributedDataParallel) else called


def _weakly(part: Part) -> Callable[[], Part | None]:
    _owner(part)
    return weakref.WeakMethod(part) if isinstance(part, types.MethodType) else weakref.ref(part)


def _owner(part: Part) -> nn.Module:
    """The module whose mode has to be set. Raises TypeError if it is unknown."""
    owner = part.__self__ if isinstance(part, types.MethodType) else part
    if isinstance(owner, nn.Module):
        return owner
    raise TypeError(
        f"monitor: encoder and head have to be modules or methods of one; a {type(owner).__name__} cannot be "
        "put in evaluation mode"
    )
