"""Head, medium and tail: the classes of a long-tailed training set by how many images they have."""

from __future__ import annotations

import numpy as np

LONG_TAILED = 2  # the largest class has at least so many times the images of the smallest


def groups(counts: list[int], name: str = "") -> dict[str, list[int]] | None:
    """The classes of each group, from the training images per class; None where the set is balanced.

    Classes sorted by count are split 3 / 4 / 3 where there are ten, in thirds otherwise; iNaturalist's at
    more than 100, 20 to 100 and fewer than 20 images. A group may be empty.
    """
    present = [count for count in counts if count > 0]
    if not present or max(counts) < LONG_TAILED * min(counts):
        return None
    if name.startswith("inat"):
        return {
            "head": [c for c, count in enumerate(counts) if count > 100],
            "medium": [c for c, count in enumerate(counts) if 20 <= count <= 100],
            "tail": [c for c, count in enumerate(counts) if count < 20],
        }
    order = np.argsort([-count for count in counts], kind="stable")
    parts = np.split(order, [3, 7]) if len(counts) == 10 else np.array_split(order, 3)
    return {group: part.tolist() for group, part in zip(("head", "medium", "tail"), parts, strict=True)}
