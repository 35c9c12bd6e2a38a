"""Multi-crop augmentation of whole batches, as tensor operations on the images' device.

Geometry is one bilinear resampling per resolution. Colour is one affine map of the three channels per image.
Brightness, contrast, saturation and grey are all affine, so one map composes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mixhead.worker.ranks import ALONE, Ranks

JITTER = 0.4  # brightness, contrast and saturation: factors in [1 - JITTER, 1 + JITTER]
GREY = 0.2  # probability that a view is grey
ASPECT = (3 / 4, 4 / 3)
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Crop:
    """Views of one resolution: their number, their side in pixels, and the share of the image's area."""

    count: int
    size: int
    scale: tuple[float, float]


def augment(
    images: Tensor,
    crop: Crop,
    mean: Tensor,
    std: Tensor,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Augments a rank's images.

    Random numbers are drawn on the CPU and for the images of all ranks, so that they depend neither on the
    device nor on the number of ranks.

    Args:
        images: (N, 3, H, W), uint8.
        crop: The views to make.
        mean: The mean of the data set's channels, (3,), in [0, 1].
        std: Their standard deviation, (3,).
        generator: The source of randomness, on the CPU.
        ranks: The ranks, which have N images each.

    Returns:
        Normalised views (count N, 3, size, size), view after view, channels last in memory.
    """
    n = len(images) * ranks.world * crop.count
    u = ranks.own(torch.rand(9, n, generator=generator).T, crop.count).T.to(images.device)
    views = F.grid_sample(
        images.float().div_(255).repeat(crop.count, 1, 1, 1),
        _boxes(u[:5], crop),
        padding_mode="border",
        align_corners=False,
    )
    pixels = views.flatten(2)
    weight, bias = _colours(u[5:], pixels.mean(dim=2))
    # The same map also normalises, so the bounds 0 and 1 become these.
    black, white = (-mean / std).view(3, 1), ((1 - mean) / std).view(3, 1)
    pixels = torch.baddbmm((bias / std.view(3, 1) + black), weight / std.view(3, 1), pixels)
    pixels = torch.clamp(pixels, black, white)
    return pixels.view_as(views).contiguous(memory_format=torch.channels_last)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) -> normalised float32 images, channels last in memory, not augmented."""
    pixels = images.contiguous(memory_format=torch.channels_last).float().div_(255)
    return pixels.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


def _boxes(u: Tensor, crop: Crop) -> Tensor:
    """Uniform numbers (5, n) -> sampling grids (n, size, size, 2) of random boxes, half of them flipped.

    The area is uniform in ``crop.scale``, the aspect ratio log-uniform in ASPECT. Sides are cut to the
    image's. Coordinates are those of ``grid_sample``: x, y in [-1, 1] over the image.
    """
    area = crop.scale[0] + (crop.scale[1] - crop.scale[0]) * u[0]
    aspect = torch.exp(math.log(ASPECT[0]) + (math.log(ASPECT[1]) - math.log(ASPECT[0])) * u[1])
    width = (area * aspect).sqrt().clamp_max(1)
    height = (area / aspect).sqrt().clamp_max(1)
    x, y = (1 - width) * (2 * u[2] - 1), (1 - height) * (2 * u[3] - 1)
    flip = torch.where(u[4] < 0.5, -1.0, 1.0)
    centres = (2 * torch.arange(crop.size, device=u.device) + 1) / crop.size - 1
    grid = torch.empty(u.shape[1], crop.size, crop.size, 2, device=u.device)
    grid[..., 0] = torch.addcmul(x[:, None], (width * flip)[:, None], centres)[:, None, :]
    grid[..., 1] = torch.addcmul(y[:, None], height[:, None], centres)[:, :, None]
    return grid


def _colours(u: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Uniform numbers (4, n) and mean colours (n, 3) -> maps x -> W x + b: W (n, 3, 3), b (n, 1, 1).

    Applied in this order: brightness b x; contrast c, towards the view's mean grey; saturation s, towards
    each pixel's grey; grey with probability GREY, which is saturation 0. With L = 1 luma^T:

        W = s c b I + (1 - s) c b L,    bias = (1 - c) b (luma . mean) 1
    """
    brightness, contrast, saturation = 1 + JITTER * (2 * u[:3] - 1)
    saturation = torch.where(u[3] < GREY, 0.0, saturation)
    luma = torch.tensor(LUMA, device=u.device)
    gain = (contrast * brightness).view(-1, 1, 1)
    keep = saturation.view(-1, 1, 1)
    identity = torch.eye(3, device=u.device)
    weight = gain * (keep * identity + (1 - keep) * luma.expand(3, 3))
    bias = (1 - contrast) * brightness * (mean @ luma)
    return weight, bias.view(-1, 1, 1)
