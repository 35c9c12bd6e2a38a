import math

import numpy as np
import pytest
import torch

from mixhead.worker.augment import Crop
from mixhead.worker.geometry import alignment, geometry, uniformity
from mixhead.worker.network import build_network
from tests.worker.runs import config


def unit(*shape: int) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(rows, dim=1)


def test_alignment_is_the_mean_squared_distance_between_views():
    rows = unit(20, 6)
    assert alignment(rows, rows).item() == 0
    assert alignment(rows, -rows).item() == pytest.approx(4)
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert alignment(a, b).item() == pytest.approx(1)


def test_uniformity_is_0_at_one_point_and_near_its_least_on_the_whole_sphere():
    assert uniformity(unit(1, 8).repeat(10, 1)).item() == pytest.approx(0, abs=1e-5)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(opposite).item() == pytest.approx(-8)
    # Of directions drawn evenly in many dimensions: log E exp(-4 + 4 cos) = -4 + 8 / D.
    assert uniformity(unit(2000, 200)).item() == pytest.approx(-4 + 8 / 200, abs=0.01)
    assert math.isnan(uniformity(unit(1, 8)).item())


def test_views_are_the_same_ones_at_every_call_and_others_for_another_seed():
    network = build_network(config()).eval()
    images = np.random.default_rng(0).integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.25)

    def measured(seed: int) -> dict[str, float]:
        return geometry(network, images, Crop(2, 32, (0.3, 1)), mean, std, seed)

    assert measured(0) == measured(0) != measured(1)
    assert 0 < measured(0)["alignment"] < 4 and -4 < measured(0)["uniformity"] < 0
