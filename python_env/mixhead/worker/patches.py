"""The patches of a vision transformer of timm's: hidden before its blocks, and read after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mixhead.worker.config import Config
from mixhead.worker.errors import WorkerError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


def with_patches(encoder: nn.Module, config: Config) -> VisionTransformer:
    """The encoder. Raises WorkerError where it is not of timm's VisionTransformer."""
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(encoder, VisionTransformer):
        raise WorkerError(
            f"method {config.method} hides patches, so encoder.name must be a vision transformer such as "
            f"vit-tiny-32; {config.encoder.name} is not one"
        )
    return encoder


def patch_grid(encoder: VisionTransformer, size: int) -> tuple[int, int]:
    """Patches in a column and in a row of a square image of this size."""
    rows, columns = encoder.patch_embed.patch_size
    return size // rows, size // columns


def tokens(
    encoder: VisionTransformer, images: Tensor, mask: Tensor, token: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Features (n, F) of the images, and those of their M masked patches (M, F), image by image.

    ``mask`` (n, rows, columns) bool; where there is a ``token`` (F,), the blocks see it in these places.
    """

    def hide(_: nn.Module, __: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        hidden = mask.view(*embedded.shape[:-1], 1)
        return embedded if token is None else torch.where(hidden, token.to(embedded.dtype), embedded)

    hook = encoder.patch_embed.register_forward_hook(hide)
    try:
        sequence = encoder.forward_features(images)
    finally:
        hook.remove()
    patches = sequence[:, encoder.num_prefix_tokens :]
    return encoder.forward_head(sequence), patches[mask.flatten(1)]
