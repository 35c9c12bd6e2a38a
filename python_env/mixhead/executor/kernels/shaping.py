"""Rearrangements of elements, as views where possible."""

from __future__ import annotations

import torch
from torch import Tensor


def identity(x: Tensor) -> Tensor:
    return x


def reshape(x: Tensor, *, shape: list[int]) -> Tensor:
    return x.reshape(shape)


def concat(*tensors: Tensor, axis: int) -> Tensor:
    return torch.cat(tensors, axis)


def stack(*tensors: Tensor, axis: int) -> Tensor:
    return torch.stack(tensors, axis)


def unstack(x: Tensor, *, axis: int) -> tuple[Tensor, ...]:
    return torch.unbind(x, axis)


def split(x: Tensor, *, axis: int, sizes: list[int]) -> tuple[Tensor, ...]:
    return torch.split(x, sizes, axis)


def part(x: Tensor, *, begin: list[int], size: list[int]) -> Tensor:
    for axis, (start, length) in enumerate(zip(begin, size, strict=True)):
        x = x.narrow(axis, start, length)
    return x


def strided_part(x: Tensor, *, begin: list[int], size: list[int], strides: list[int]) -> Tensor:
    """Every stride-th element from `begin` on, backwards if the stride is negative."""
    for axis, (start, length, stride) in enumerate(zip(begin, size, strides, strict=True)):
        end = start + (length - 1) * stride
        low, high = min(start, end), max(start, end)
        x = x[(slice(None),) * axis + (slice(low, high + 1, abs(stride)),)]
        x = x.flip(axis) if stride < 0 else x
    return x


def tile(x: Tensor, *, reps: list[int]) -> Tensor:
    """Repeats x along its axes. Returns a view if only axes of length 1 are repeated."""
    if all(each == 1 or size == 1 for each, size in zip(reps, x.shape, strict=True)):
        return x.expand([size * each for each, size in zip(reps, x.shape, strict=True)])
    return x.repeat(reps)


def pad(x: Tensor, value: Tensor, *, paddings: list[list[int]]) -> Tensor:
    shape = [before + size + after for (before, after), size in zip(paddings, x.shape, strict=True)]
    padded = value.expand(shape).clone(memory_format=torch.contiguous_format)
    inner = part(padded, begin=[before for before, _ in paddings], size=list(x.shape))
    inner.copy_(x)
    return padded


def mirror_pad(x: Tensor, *, paddings: list[list[int]], mode: str) -> Tensor:
    """Pads with mirrored elements. "symmetric" repeats the edge itself, "reflect" does not."""
    edge = 1 if mode == "symmetric" else 0
    for axis, (before, after) in enumerate(paddings):
        size = x.shape[axis]
        if before == after == 0:
            continue
        places = torch.arange(-before, size + after, device=x.device)
        places = torch.where(places < 0, -places - edge, places)
        places = torch.where(places >= size, 2 * (size - 1) - places + edge, places)
        x = x.index_select(axis, places)
    return x


def reverse(x: Tensor, *, dims: list[int]) -> Tensor:
    return x.flip(dims)


def transpose(x: Tensor, *, perm: list[int]) -> Tensor:
    return x.permute(perm)


KERNELS = {
    "Identity": identity,
    "Reshape": reshape,
    "Concat": concat,
    "Pack": stack,
    "Unpack": unstack,
    "SplitV": split,
    "Slice": part,
    "StridedSlice": strided_part,
    "Tile": tile,
    "PadV2": pad,
    "MirrorPad": mirror_pad,
    "Reverse": reverse,
    "Transpose": transpose,
}
