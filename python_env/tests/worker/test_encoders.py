import pytest
import torch

from mixhead.worker.encoders import build_encoder, check_sizes
from mixhead.worker.errors import WorkerError


@pytest.mark.parametrize(
    ("name", "width"), [("conv-small", 128), ("resnet18-32", 512), ("vit-tiny-32", 192), ("resnet10t", 512)]
)
def test_an_encoder_takes_global_and_local_crops(name: str, width: int):
    encoder, features = build_encoder(name)
    assert features == width
    for size in (32, 16):
        assert encoder(torch.randn(2, 3, size, size)).shape == (2, width)
    check_sizes(encoder, {16, 32})
    assert encoder.training


def test_conv_small_is_the_encoder_of_the_published_tables():
    encoder, _ = build_encoder("conv-small")
    convolutions = [m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (3, 16, (3, 3), (2, 2)),
        (16, 32, (3, 3), (1, 1)),
        (32, 64, (3, 3), (2, 2)),
        (64, 128, (3, 3), (2, 2)),
    ]


def test_an_unknown_encoder_is_answered_with_the_nearest_names():
    with pytest.raises(WorkerError, match=r'no encoder "conv-smal"; the nearest names are conv-small'):
        build_encoder("conv-smal")


def test_an_encoder_of_one_size_only_is_found_out_before_training():
    encoder, _ = build_encoder("mixer_s32_224")
    with pytest.raises(WorkerError, match="does not accept images of 32 x 32"):
        check_sizes(encoder, {32})
