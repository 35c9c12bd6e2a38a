"""An encoder with its projection head: what exists twice, as student and as teacher."""

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
    """``encoder`` images -> features (n, ``width``); ``head`` -> unit rows (and cosines, where joint)."""

    def __init__(self, encoder: nn.Module, head: ProjectionHead, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.width = width

    def features(self, views: Sequence[Tensor]) -> Tensor:
        """Views, one tensor (n, 3, S, S) per resolution, -> features (sum of n, width), in their order.

        One pass of the encoder per resolution; ``head.embed`` then takes everything at once.
        """
        return torch.cat([self.encoder(view) for view in views])

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """The student's unit rows of all views (sum of n, D); see ``student_rows`` in step.py."""
        return self.head.embed(self.features(views))

    def averaged(self) -> list[Tensor]:
        """The parameters that a teacher averages, always in the same order."""
        return [*self.encoder.parameters(), *self.head.parameters()]


class PatchNetwork(Network):
    """A network whose encoder is a vision transformer, for methods that hide patches from the student."""

    encoder: VisionTransformer

    def __init__(self, encoder: VisionTransformer, head: ProjectionHead, width: int) -> None:
        super().__init__(encoder, head, width)
        self.mask_token = nn.Parameter(torch.zeros(width))

    def masked_features(self, views: Sequence[Tensor], mask: Tensor, hide: bool) -> Tensor:
        """As ``features``, and those of the masked patches after them: (sum of n + M, width).

        ``mask`` (n, rows, columns) is of the views of the first resolution, the patches image by image.
        ``hide``: the encoder sees the mask token in their place.
        """
        first, patches = tokens(self.encoder, views[0], mask, self.mask_token if hide else None)
        others = [self.encoder(view) for view in views[1:]]
        return torch.cat([first, *others, patches])

    def forward(self, views: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(views)
        return self.head.embed(self.masked_features(views, mask, hide=True), int(mask.sum()))

    def grid(self, size: int) -> tuple[int, int]:
        """Patches in a column and in a row of an image of this size."""
        return patch_grid(self.encoder, size)


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
    if method_of(config).mask is not None:
        return PatchNetwork(with_patches(encoder, config), projection, features)
    return Network(encoder, projection, features)
