"""Channels, axes and sizes of images, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.datasets.image_files import read_image, resize, to_rgb
from projects.DistillNeRF.utils.errors import InputError


@pytest.fixture
def picture() -> np.ndarray:
    """RGB, 2 rows of 3 pixels."""
    return np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [40, 50, 60], [70, 80, 90]]], np.uint8)


def test_files_are_read_as_blue_green_red_and_become_red_green_blue(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / 'a.png')
    image = read_image(tmp_path / 'a.png')
    assert image.dtype == np.uint8 and image.shape == (2, 3, 3)
    assert image[1, 0].tolist() == [30, 20, 10]
    rgb = to_rgb(image)
    assert rgb.dtype == np.float32 and rgb.shape == (3, 2, 3) and rgb.flags['C_CONTIGUOUS']
    np.testing.assert_allclose(rgb[:, 0, 0], [1, 0, 0])
    np.testing.assert_allclose(rgb[:, 1, 2] * 255, [70, 80, 90], rtol=1e-6)


def test_many_images_are_converted_like_one(picture):
    stack = np.stack([picture, picture[:, ::-1]])
    rgb = to_rgb(stack)
    assert rgb.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(rgb[1], to_rgb(picture[:, ::-1]))


def test_a_size_is_height_then_width_and_values_are_blended():
    """Half-pixel centers: four columns from two lie at -0.25, 0.25, 0.75 and 1.25; rows are repeated."""
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 200
    large = resize(image, 3, 4)
    assert large.shape == (3, 4, 3)
    assert large[:, :, 0].tolist() == [[0, 50, 150, 200]] * 3


def test_halving_is_the_mean_of_the_two_middle_pixels():
    """Bilinear, not the mean of an area: every second pair of pixels is left out."""
    image = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert resize(image, 1, 4)[0, :, 0].tolist() == [15, 55, 95, 135]


def test_files_that_are_no_images_are_refused(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    with pytest.raises(InputError, match=r'a\.png: not a readable image'):
        read_image(tmp_path / 'a.png')
    with pytest.raises(InputError, match='no such file'):
        read_image(tmp_path / 'b.png')
