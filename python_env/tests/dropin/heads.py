"""Small heads for the tests."""

import copy

from torch import nn

from mixhead.dino import DINOHead
from mixhead.lightly import DINOProjectionHead

IN, DIM, K = 12, 8, 48


def lightly_head(**options: object) -> DINOProjectionHead:
    return DINOProjectionHead(IN, 16, DIM, K, **{"prototypes": "online-gmm", **options})


def meta_head(**options: object) -> DINOHead:
    return DINOHead(IN, K, hidden_dim=16, bottleneck_dim=DIM, **{"prototypes": "online-gmm", **options})


def with_teacher(student: nn.Module) -> tuple[nn.Module, nn.Module]:
    return student, copy.deepcopy(student).requires_grad_(False)
