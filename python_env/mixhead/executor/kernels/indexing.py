"""Gathering and scattering of elements. Indices out of range gather 0, and are ignored when scattering.

On CUDA an index cannot be refused without making the host wait, and a bad one would break the device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mixhead.executor.kernels.numbers import host_sees


def gather(x: Tensor, indices: Tensor, *, axis: int, batchDims: int) -> Tensor:
    """Gathers slices of x along `axis`. The first `batchDims` axes of both tensors are batch axes."""
    size = x.shape[axis]
    places, outside = _within(indices, size)
    batch, outer = x.shape[:batchDims], x.shape[batchDims:axis]
    inner, chosen = x.shape[axis + 1 :], indices.shape[batchDims:]
    shape = [*batch, *outer, *chosen, *inner]
    if size == 0 or math.prod(shape) == 0:
        return x.new_zeros(shape)
    if batchDims == 0:
        rows = x.index_select(axis, places.flatten())
        mask = None if outside is None else outside.flatten().view([-1] + [1] * len(inner))
    else:
        sides = [math.prod(batch), math.prod(outer), size, math.prod(inner)]
        count = math.prod(chosen)
        wide = places.reshape(sides[0], 1, count, 1).expand(sides[0], sides[1], count, sides[3])
        rows = x.reshape(sides).gather(2, wide)
        mask = None if outside is None else outside.reshape(sides[0], 1, count, 1)
    if mask is not None:
        rows = rows.masked_fill(mask, 0)
    return rows.reshape(shape)


def gather_nd(params: Tensor, indices: Tensor) -> Tensor:
    """Gathers slices of params. Each row of indices (..., depth) names one."""
    depth = indices.shape[-1]
    rows = params.reshape(math.prod(params.shape[:depth]), *params.shape[depth:])
    places = _flat(indices.reshape(-1, depth), params.shape[:depth])
    slices = gather(rows, places, axis=0, batchDims=0)
    return slices.reshape([*indices.shape[:-1], *params.shape[depth:]])


def scatter_nd(indices: Tensor, updates: Tensor, *, shape: list[int]) -> Tensor:
    """A tensor of zeros with the updates added at their places."""
    places, slices, rest = _scattered(indices, updates, shape)
    count = math.prod(shape[: len(shape) - len(rest)])
    return sum_into(places, slices, count).reshape(shape)


def segment_sum(x: Tensor, segmentIds: Tensor, *, numSegments: int) -> Tensor:
    rest = x.shape[segmentIds.ndim :]
    slices = x.reshape(segmentIds.numel(), *rest)
    return sum_into(segmentIds.flatten().to(torch.int64), slices, numSegments)


def sum_into(places: Tensor, slices: Tensor, count: int) -> Tensor:
    """`count` slices, each the sum of the slices (M, ...) with its place (M, int64). The order of the
    additions is always the same."""
    rest = slices.shape[1:]
    total = slices.new_zeros(count + 1, *rest)  # the last one collects places out of range
    places = torch.where((places >= 0) & (places < count), places, count)
    if slices.dtype is torch.bool:
        return sum_into(places, slices.to(torch.int32), count).ne(0)
    if host_sees(slices):
        total.index_add_(0, places, slices)
    else:
        total.index_put_((places,), slices, accumulate=True)
    return total[:count]


def scatter_update(tensor: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """`tensor` with some slices replaced by updates. The last update of a place wins."""
    places, slices, rest = _scattered(indices, updates, list(tensor.shape))
    rows = tensor.reshape(math.prod(tensor.shape[: tensor.ndim - len(rest)]), *rest)
    return _replace(rows, places, slices).reshape(tensor.shape)


def sparse_to_dense(indices: Tensor, values: Tensor, otherwise: Tensor, *, shape: list[int]) -> Tensor:
    """A tensor of the values at their places, and `otherwise` elsewhere."""
    rows = otherwise.expand(math.prod(shape))
    places = _flat(indices.reshape(-1, len(shape)), shape)
    return _replace(rows, places, values.expand(len(places))).reshape(shape)


def _replace(rows: Tensor, places: Tensor, slices: Tensor) -> Tensor:
    count = len(rows)
    inside = (places >= 0) & (places < count)
    if host_sees(rows):  # on the CPU, index_copy_ writes in order, so the last update wins
        if not bool(inside.all()):
            places, slices = places[inside], slices[inside]
        return rows.clone(memory_format=torch.contiguous_format).index_copy_(0, places, slices)
    last = torch.full([count + 1], -1, device=rows.device)
    order = torch.arange(len(places), device=rows.device)
    last = last.scatter_reduce(0, torch.where(inside, places, count), order, "amax")[:count]
    if len(places) == 0:
        return rows.clone()
    mask = (last < 0).view([-1] + [1] * (rows.ndim - 1))
    return torch.where(mask, rows, slices[last.clamp(min=0)])


def one_hot(indices: Tensor, on: Tensor, off: Tensor, *, depth: int) -> Tensor:
    places = torch.arange(depth, dtype=torch.int32, device=indices.device)
    return torch.where(indices.unsqueeze(-1) == places, on, off)


def top_k(x: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """The k largest elements along the last axis and their indices, in descending order, ties in index
    order."""
    if k == 1 and x.dtype is not torch.bool:
        values, places = torch.max(x, -1, keepdim=True)
    else:
        values, places = torch.sort(x, dim=-1, descending=True, stable=True)
    return values[..., :k], places[..., :k].to(torch.int32)


def search_sorted(sorted_rows: Tensor, values: Tensor, *, side: str) -> Tensor:
    """The position at which each value would be inserted into its ascending row."""
    return torch.searchsorted(
        sorted_rows.contiguous(), values.contiguous(), right=side == "right", out_int32=True
    )


def _within(indices: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
    """Indices clamped into range, and a mask of those that were out of range; None if the host knows that
    there are none."""
    outside = (indices < 0) | (indices >= size)
    if host_sees(indices) and not bool(outside.any()):
        return indices.to(torch.int64), None
    return indices.clamp(0, max(size - 1, 0)).to(torch.int64), outside


def _flat(rows: Tensor, shape: list[int] | torch.Size) -> Tensor:
    """Indices (M, depth) into `shape` -> flat places (M), int64; -1 for indices out of range."""
    places = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    outside = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for axis, size in enumerate(shape):
        index = rows[:, axis]
        places = places * size + index
        outside |= (index < 0) | (index >= size)
    return places.masked_fill(outside, -1)


def _scattered(indices: Tensor, updates: Tensor, shape: list[int]) -> tuple[Tensor, Tensor, list[int]]:
    """The flat places (M), their slices (M, ...), and the shape of a slice."""
    depth = indices.shape[-1] if indices.ndim > 1 else 1
    rest = shape[depth:]
    places = _flat(indices.reshape(-1, depth), shape[:depth])
    return places, updates.reshape([len(places), *rest]), rest


KERNELS = {
    "GatherV2": gather,
    "GatherNd": gather_nd,
    "ScatterNd": scatter_nd,
    "TensorScatterUpdate": scatter_update,
    "SparseToDense": sparse_to_dense,
    "UnsortedSegmentSum": segment_sum,
    "OneHot": one_hot,
    "TopK": top_k,
    "SearchSorted": search_sorted,
}
