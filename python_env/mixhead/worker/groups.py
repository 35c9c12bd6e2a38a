"""Head, medium and tail: the classes of a long-tailed training set by how many images they have."""

from __future__ import annotations

import numpy as np

LONG_TAILED = 2  # the largest class has at least so many times the images of the smallest that has any


def groups(counts: list[int], name: str = "") -> dict[str, list[int]] | None:
    """The classes of each group, from the training images per class; None where the set is balanced.

    Classes sorted by count are split 3 / 4 / 3 where there are ten, in thirds otherwise; iNaturalist's at
    more than 100, 20 to 100 and fewer than 20 images. A group may be empty. A class without images is in
    none.
    """
    present = np.flatnonzero(counts)
    if not len(present) or max(counts) < LONG_TAILED * min(counts[c] for c in present):
        return None
    if name.startswith("inat"):
        return {
            "head": [c for c, count in enumerate(counts) if count > 100],
            "medium": [c for c, count in enumerate(counts) if 20 <= count <= 100],
            "tail": [c for c, count in enumerate(counts) if 0 < count < 20],
        }
    order = np.array(sorted(present, key=lambda c: -counts[c]))
    parts = np.split(order, [3, 7]) if len(order) == 10 else np.array_split(order, 3)
    return {group: part.tolist() for group, part in zip(("head", "medium", "tail"), parts, strict=True)}
