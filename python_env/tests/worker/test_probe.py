from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mixhead.worker.frozen import Frozen, Labelled
from mixhead.worker.probe import nearest_images


def frozen(wins: list[int], noise: float = 0.3) -> tuple[torch.Tensor, Frozen]:
    """Prototypes along the axes, and rows of which ``wins`` lie near each; row i is of class i."""
    c = torch.eye(len(wins), 20)
    axes = torch.arange(len(wins)).repeat_interleave(torch.tensor(wins))
    random = torch.Generator().manual_seed(0)
    rows = F.normalize(c[axes] + noise * torch.rand(len(axes), 20, generator=random), dim=1)
    labelled = Labelled(torch.zeros(len(rows), 1), torch.arange(len(rows)))
    return c, Frozen(labelled, rows, labelled, rows)


def pictures(count: int, size: int) -> np.ndarray:
    """Image i is of one grey, i."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 3, size, size))


def test_each_sample_prototype_has_its_closest_images_in_order():
    c, of = frozen([10, 0, 30, 12])
    found = nearest_images(c, of, pictures(52, 28))
    assert found["nearestPrototypes"].tolist() == [2, 3, 0], "most wins first, and none that wins nothing"
    for prototype, images, labels in zip(*found.values(), strict=True):
        expected = (of.train_h @ c[prototype]).argsort(descending=True)[:8]
        assert labels.tolist() == expected.tolist()
        assert images.shape == (8, 28, 28, 3) and images.dtype == np.uint8
        assert images[:, 5, 7, 1].tolist() == expected.tolist()


def test_sample_prototypes_are_spread_over_the_order_of_wins():
    wins = list(range(1, 21))
    c, of = frozen(wins, 0.05)
    found = nearest_images(c, of, pictures(sum(wins), 4))
    places = (20 - 1 - found["nearestPrototypes"]).tolist()
    assert len(places) == 12 and places[0] == 0 and places[-1] == 19
    assert set(np.diff(places)) == {1, 2}


@pytest.mark.parametrize(("count", "size"), [(5, 32), (40, 64)])
def test_few_images_are_all_shown_and_large_ones_downsized(count: int, size: int):
    c, of = frozen([count])
    found = nearest_images(c, of, pictures(count, size))
    assert found["nearestImages"].shape == (1, min(8, count), 32, 32, 3)
    assert found["nearestImages"][0, :, 9, 9, 0].tolist() == found["nearestLabels"][0].tolist()
