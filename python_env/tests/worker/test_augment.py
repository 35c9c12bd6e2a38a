import pytest
import torch
import torchvision.transforms.v2.functional as reference

from mixhead.worker import augment as module
from mixhead.worker.augment import Crop, augment, normalise
from mixhead.worker.randomness import generator, seed_of

MEAN, STD = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])


def pictures(n: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8)


def views(images: torch.Tensor, crop: Crop, seed: int = 0) -> torch.Tensor:
    """Views in [0, 1] again."""
    out = augment(images, crop, MEAN, STD, generator(seed, "augment"))
    return out * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)


def test_views_follow_one_another_in_the_shape_and_layout_that_encoders_like():
    out = views(pictures(), Crop(3, 16, (0.1, 0.4)))
    assert out.shape == (18, 3, 16, 16)
    assert out.min() > -1e-5 and out.max() < 1 + 1e-5
    raw = augment(pictures(), Crop(3, 16, (0.1, 0.4)), MEAN, STD, generator(0, "augment"))
    assert raw.is_contiguous(memory_format=torch.channels_last)


def test_the_same_seed_gives_the_same_bits_and_another_other_views():
    images, crop = pictures(), Crop(2, 32, (0.3, 1))
    assert torch.equal(views(images, crop), views(images, crop))
    assert not torch.equal(views(images, crop), views(images, crop, seed=1))


def test_a_crop_of_the_whole_picture_without_jitter_is_the_picture_or_its_mirror_image(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "JITTER", 0)
    monkeypatch.setattr(module, "GREY", 0)
    monkeypatch.setattr(module, "ASPECT", (1, 1))
    images = pictures(40)
    out = views(images, Crop(1, 32, (1, 1)))
    plain = images.float() / 255
    same = (out - plain).abs().amax(dim=(1, 2, 3)) < 1e-4
    mirrored = (out - plain.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (same ^ mirrored).all()
    assert same.any() and mirrored.any()


def test_crops_show_the_share_of_the_area_that_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "JITTER", 0)
    monkeypatch.setattr(module, "GREY", 0)
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8)
    images = torch.stack([ramp.expand(32, 32), ramp.expand(32, 32).T, torch.zeros(32, 32)]).to(torch.uint8)
    out = views(images.expand(500, -1, -1, -1), Crop(1, 16, (0.1, 0.4)))
    # The ramps tell the box's sides: their span over the view, per pixel, times the pixels.
    width = (out[:, 0, 8, 4] - out[:, 0, 8, 11]).abs() * 255 / 8 / 7 * 16 / 32
    height = (out[:, 1, 4, 8] - out[:, 1, 11, 8]).abs() * 255 / 8 / 7 * 16 / 32
    area, aspect = width * height, width / height
    assert 0.09 < area.min() < 0.13 and 0.37 < area.max() < 0.41
    assert 0.73 < aspect.min() < 0.78 and 1.28 < aspect.max() < 1.36


def test_colours_equal_torchvisions_jitter_in_the_same_order(monkeypatch: pytest.MonkeyPatch):
    images = torch.rand(5, 3, 8, 8) * 0.3 + 0.3
    u = torch.rand(4, 5)
    u[3] = torch.tensor([0.9, 0.9, 0.1, 0.9, 0.1])
    weight, bias = module._colours(u, images.mean(dim=(2, 3)))
    ours = torch.baddbmm(bias, weight, images.flatten(2)).view_as(images)
    for i, image in enumerate(images):
        brightness, contrast, saturation = (0.6 + 0.8 * u[:3, i]).tolist()
        expected = reference.adjust_contrast(reference.adjust_brightness(image, brightness), contrast)
        expected = reference.adjust_saturation(expected, saturation if u[3, i] >= 0.2 else 0.0)
        torch.testing.assert_close(ours[i].clamp(0, 1), expected, rtol=0, atol=2e-3)


def test_normalised_pictures_have_the_data_sets_mean_taken_off():
    images = pictures()
    expected = (images.float() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    torch.testing.assert_close(normalise(images, MEAN, STD), expected)


def test_a_seed_depends_on_purpose_and_step():
    seeds = {
        seed_of(seed, purpose, step)
        for seed in (0, 1)
        for purpose in ("batch", "augment")
        for step in (0, 1, 10)
    }
    assert len(seeds) == 12
    assert seed_of(0, "batch", 3) == seed_of(0, "batch", 3)
