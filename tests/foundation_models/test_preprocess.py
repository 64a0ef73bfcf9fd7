"""Which pixel lands where, and how colors are scaled."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from projects.DistillNeRF.foundation_models.preprocess import (
    BILINEAR,
    NORMALIZATIONS,
    Framing,
    Normalization,
    folder_normalization,
    named_normalization,
    patch_framing,
    place,
    whole_framing,
)
from tests.helpers.refusals import assert_refused

HEIGHT, WIDTH = 60, 104


def ramp(dtype=np.float32) -> np.ndarray:
    """An image whose red is its own row position, whose green its column position, both of pixel centers."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(dtype)


@pytest.mark.parametrize(
    'framing',
    [
        whole_framing((20, 52)),
        whole_framing((90, 130)),
        patch_framing((7, 11), 8, 8),
        patch_framing((14, 22), 8, 4),
        patch_framing((9, 17), 8, 5),  # half a pixel
        Framing((40, 40), (3.25, 10.5), (30.0, 20.0)),
    ],
)
def test_every_input_pixel_shows_the_place_that_the_framing_says(framing):
    placed = place(ramp(), framing, BILINEAR)
    assert placed.shape == (*framing.size, 3) and placed.dtype == np.float32
    for axis, length in ((0, HEIGHT), (1, WIDTH)):
        scale = length / framing.extent[axis]
        expected = (np.arange(framing.size[axis]) + 0.5 - framing.origin[axis]) * scale
        found = np.moveaxis(placed[..., axis], axis, 0)
        inside = (expected > 2 * max(1, scale)) & (expected < length - 2 * max(1, scale))
        assert inside.sum() > 8
        off = found[inside] - expected[inside].reshape(-1, 1)
        # A symmetric filter keeps a ramp; made of whole pixels, it wavers a little around that.
        assert np.abs(off).max() < 0.1 and abs(off.mean()) < 0.01


def test_beyond_the_image_its_border_is_repeated():
    placed = place(ramp(), Framing((40, 40), (10.0, 10.0), (20.0, 20.0)), BILINEAR)
    assert placed[2, :, 0] == pytest.approx(np.full(40, 0.5), abs=1e-3)
    assert placed[-2, :, 0] == pytest.approx(np.full(40, HEIGHT - 0.5), abs=1e-3)
    assert placed[:, 2, 1] == pytest.approx(np.full(40, 0.5), abs=1e-3)


def test_bytes_stay_bytes_and_the_same_size_stays_the_same():
    image = np.random.default_rng(0).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    assert np.array_equal(place(image, whole_framing((9, 13))), image)
    small = place(image, whole_framing((4, 5)))
    assert small.dtype == np.uint8 and small.flags.writeable
    floats = place(image.astype(np.float64), whole_framing((4, 5)))
    assert np.abs(floats.clip(0, 255) - small).max() <= 1
    assert np.array_equal(place(image[:1, :1], whole_framing((3, 2))), np.broadcast_to(image[:1, :1], (3, 2, 3)))


@pytest.mark.parametrize(
    'wrong', [np.zeros((4, 5)), np.zeros((4, 5, 4)), np.zeros((0, 5, 3)), np.zeros((4, 5, 3), int)]
)
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(ValueError, match='an image is'):
        place(wrong, whole_framing((2, 2)))


def test_normalization_is_of_rgb_in_0_to_1():
    pixels = torch.tensor([255, 51, 0], dtype=torch.uint8).expand(2, 4, 5, 3)
    normalize = Normalization((0.5, 0.1, 0.0), (0.25, 0.2, 2.0))
    expected = torch.tensor([2.0, 0.5, 0.0])
    assert torch.allclose(normalize(pixels), expected[None, :, None, None].expand(2, 3, 4, 5))
    assert torch.allclose(normalize(pixels.float() / 255), normalize(pixels))
    flipped = Normalization(normalize.mean, normalize.std, bgr=True)(pixels)
    assert torch.allclose(flipped, normalize(pixels).flip(1))
    assert torch.allclose(named_normalization('byte')(pixels)[0, :, 0, 0], torch.tensor([255.0, 51.0, 0.0]))


def test_a_folder_says_how_its_model_wants_colors():
    settings = {'image_mean': [0.5, 0.4, 0.3], 'image_std': [0.2, 0.2, 0.1], 'rescale_factor': 1 / 255}
    read = folder_normalization(settings, 'model', 'clip')
    assert read == Normalization((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert folder_normalization({}, 'model', 'clip') == Normalization(*NORMALIZATIONS['clip'])
    bytes_alone = folder_normalization({'do_rescale': False, 'do_normalize': False}, 'model', 'clip')
    pixels = torch.full((1, 1, 1, 3), 200, dtype=torch.uint8)
    assert bytes_alone(pixels).flatten().tolist() == pytest.approx([200] * 3)
    # Twice the usual scale: (2 x - mean) / std.
    twice = folder_normalization({**settings, 'rescale_factor': 2 / 255}, 'model', 'clip')
    assert twice(pixels)[0, 0].item() == pytest.approx((400 / 255 - 0.5) / 0.2, rel=1e-5)
    for wrong in ({'image_mean': ['x']}, {'image_mean': [0.5]}, {'image_std': [0, 0, 0]}, {'rescale_factor': 'no'}):
        assert_refused(
            lambda wrong=wrong: folder_normalization(json.loads(json.dumps(wrong)), 'model', 'clip'), 'model:'
        )
