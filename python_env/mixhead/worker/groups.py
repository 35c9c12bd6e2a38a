"""Head, medium and tail: groups of the classes of a long-tailed training set by their number of images."""

from __future__ import annotations

import numpy as np

LONG_TAILED = 2  # least ratio of the largest class to the smallest one that has images


def groups(counts: list[int], name: str = "") -> dict[str, list[int]] | None:
    """Groups the classes by their number of training images.

    Ten classes, sorted by count, are split into 3, 4 and 3; any other number into thirds. iNaturalist's
    groups have more than 100, 20 to 100, and fewer than 20 images. A group may be empty. A class without
    images is in no group.

    Args:
        counts: The number of training images of each class.
        name: The data set.

    Returns:
        The classes of "head", "medium" and "tail"; None if the set is balanced.
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
