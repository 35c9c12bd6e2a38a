"""Masks the patches of timm's vision transformers, and reads their features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mixhead.worker.config import Config
from mixhead.worker.errors import WorkerError

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


def with_patches(encoder: nn.Module, config: Config) -> VisionTransformer:
    """Returns the encoder. Raises WorkerError if it is not a VisionTransformer of timm."""
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(encoder, VisionTransformer):
        raise WorkerError(
            f"method {config.method} hides patches, so encoder.name must be a vision transformer such as "
            f"vit-tiny-32; {config.encoder.name} is not one"
        )
    return encoder


def patch_grid(encoder: VisionTransformer, size: int) -> tuple[int, int]:
    """The number of rows and columns of patches in a square image of this side, in pixels."""
    rows, columns = encoder.patch_embed.patch_size
    return size // rows, size // columns


def tokens(
    encoder: VisionTransformer, images: Tensor, mask: Tensor, token: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Computes the features of images and of their masked patches.

    Args:
        encoder: The vision transformer.
        images: (n, 3, S, S).
        mask: The masked patches, (n, rows, columns) bool.
        token: Replaces the embeddings of masked patches, (F,). None: the encoder sees the patches.

    Returns:
        Features (n, F) of the images, and features (M, F) of the M masked patches, image by image.
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
