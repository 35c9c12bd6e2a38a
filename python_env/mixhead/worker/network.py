"""An encoder with its projection head: what exists twice, as student and as teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mixhead.heads import JointHead, ProjectionHead
from mixhead.worker.config import Config
from mixhead.worker.encoders import build_encoder, check_sizes
from mixhead.worker.randomness import seed_of


class Network(nn.Module):
    """``encoder`` images -> features, and ``head`` features -> unit rows (and cosines, in the joint arm)."""

    def __init__(self, encoder: nn.Module, head: ProjectionHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Views, one tensor (n, 3, S, S) per resolution, -> unit rows (sum of n, D), in their order.

        One pass of the encoder per resolution, and one of the head over everything.
        """
        return self.head.embed(torch.cat([self.encoder(view) for view in views]))


def build_network(config: Config) -> Network:
    """The untrained network of a configuration: all arms start from the same encoder and projection.

    Raises WorkerError where the encoder is unknown or does not take the views' sizes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "encoder"))
        encoder, features = build_encoder(config.encoder.name)
        torch.manual_seed(seed_of(config.seed, "head"))
        head = config.head
        if config.prototypes == "joint":
            # The projection is drawn before the last layer, so it is the other arms' too.
            projection: ProjectionHead = JointHead(
                features, head.hidden, head.dim, config.plugin.components, head.norm
            )
        else:
            projection = ProjectionHead(features, head.hidden, head.dim, head.norm)
    sizes = {config.views.global_size} | ({config.views.local_size} if config.views.local else set())
    check_sizes(encoder, sizes)
    return Network(encoder, projection)
