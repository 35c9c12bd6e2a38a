"""An encoder with its projection head, as used for both student and teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mixhead.heads import JointHead, ProjectionHead
from mixhead.worker.config import Config
from mixhead.worker.encoders import build_encoder, check_sizes
from mixhead.worker.methods import method_of
from mixhead.worker.patches import patch_grid, tokens, with_patches
from mixhead.worker.randomness import seed_of

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


class Network(nn.Module):
    """An encoder, images -> features (n, ``width``), and a head, features -> unit rows (n, D)."""

    def __init__(self, encoder: nn.Module, head: ProjectionHead, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.width = width

    def features(self, views: Sequence[Tensor]) -> Tensor:
        """Views, one tensor (n, 3, S, S) per resolution, -> features (sum of n, width), in the same order."""
        return torch.cat([self.encoder(view) for view in views])

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """The unit rows of all views, (sum of n, D). With a mask, the rows of masked patches follow."""
        return self.head.embed(self.features(views))

    def averaged(self) -> list[Tensor]:
        """The parameters of which the teacher keeps a moving average, always in the same order."""
        return [*self.encoder.parameters(), *self.head.parameters()]


class PatchNetwork(Network):
    """A network whose encoder is a vision transformer, for methods that mask patches for the student."""

    encoder: VisionTransformer

    def __init__(self, encoder: VisionTransformer, head: ProjectionHead, width: int) -> None:
        super().__init__(encoder, head, width)
        self.mask_token = nn.Parameter(torch.zeros(width))

    def masked_features(self, views: Sequence[Tensor], mask: Tensor, hide: bool) -> Tensor:
        """As ``features``, followed by the features of the M masked patches: (sum of n + M, width).

        Args:
            views: The views, one tensor per resolution.
            mask: The masked patches of the first resolution, (n, rows, columns) bool.
            hide: Whether the encoder sees the mask token in their place.
        """
        first, patches = tokens(self.encoder, views[0], mask, self.mask_token if hide else None)
        others = [self.encoder(view) for view in views[1:]]
        return torch.cat([first, *others, patches])

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(views)
        return self.head.embed(self.masked_features(views, mask, hide=True), int(mask.sum()))

    def grid(self, size: int) -> tuple[int, int]:
        """The number of rows and columns of patches in a square image of this side, in pixels."""
        return patch_grid(self.encoder, size)


def build_network(config: Config) -> Network:
    """Builds an untrained network. All arms of an experiment start from the same encoder and projection.

    Raises WorkerError if the encoder is unknown or does not accept the views' sizes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "encoder"))
        encoder, features = build_encoder(config.encoder.name)
        torch.manual_seed(seed_of(config.seed, "head"))
        head = config.head
        if config.prototypes == "joint":
            # The projection is initialised before the last layer, so it is the same as in the other arms.
            projection: ProjectionHead = JointHead(
                features, head.hidden, head.dim, config.plugin.components, head.norm
            )
        else:
            projection = ProjectionHead(features, head.hidden, head.dim, head.norm)
    sizes = {config.views.global_size} | ({config.views.local_size} if config.views.local else set())
    check_sizes(encoder, sizes)
    if method_of(config).mask is not None:
        return PatchNetwork(with_patches(encoder, config), projection, features)
    return Network(encoder, projection, features)
