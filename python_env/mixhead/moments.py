"""The mean and the variance that batch norms use, over one rank's rows or those of all ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def moments(
    rows: Tensor,
    counted: Tensor | None = None,
    *,
    total: Callable[[Tensor], Tensor] | None = None,
    refine: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and (biased) variance of each dimension.

    Args:
        rows: (N, C, ...), float32 or wider. N may be 0.
        counted: Which rows count, (N,) bool; for rows (N, C) alone. None: all.
        total: Sums a tensor over the ranks. None: the rows are all there are.
        refine: Correct the mean by the mean of the deviations from it. The first sum rounds relative to the
            rows, the correction relative to their deviations. It costs one more sum over the ranks.

    Returns:
        Mean (C,) and variance (C,), both 0 if nothing counts; the number of values in each, a scalar without
        gradient; and the rows less their mean.
    """
    over = [0, *range(2, rows.ndim)]
    shape = [1, -1, *[1] * (rows.ndim - 2)]
    weights = None if counted is None else counted[:, None].to(rows.dtype)

    def sums(values: Tensor) -> Tensor:
        return (values if weights is None else values * weights).sum(dim=over)

    def of_all(part: Tensor) -> Tensor:
        return part if total is None else total(part)

    each = rows.numel() // max(rows.shape[1], 1)
    own = rows.new_full((1,), each) if weights is None else weights.sum(dim=0)
    first = of_all(torch.cat([sums(rows), own]))
    count = first[-1].detach()
    at_least_one = count.clamp_min(1)
    mean = first[:-1] / at_least_one
    if refine:
        mean = mean + of_all(sums(rows - mean.view(shape))) / at_least_one
    deviations = rows - mean.view(shape)
    return mean, of_all(sums(deviations.square())) / at_least_one, count, deviations
