"""Images on their way to the network, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.pipelines.images import LoadViews
from projects.DistillNeRF.utils.errors import InputError

MATRIX = np.array([[80.0, 0, 50], [0, 90, 30], [0, 0, 1]])


def save(path: Path, height: int, width: int) -> str:
    """Red on the left half, blue on the right one."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0], image[:, width // 2 :, 2] = 255, 200
    Image.fromarray(image).save(path)
    return str(path)


def load(path: str, height: int, width: int, size: tuple[int, int], **more: object) -> dict:
    view = {'img_path': path, 'height': height, 'width': width, 'intrinsics': MATRIX.copy(), **more}
    return LoadViews().transform({'image_size': size, 'views': {'a': view}})['views']['a']


def test_images_are_rgb_of_the_size_height_then_width(tmp_path):
    view = load(save(tmp_path / 'a.png', 40, 60), 40, 60, (20, 30))
    assert view['image'].shape == (3, 20, 30) and view['image'].dtype == np.float32
    np.testing.assert_allclose(view['image'][:, 10, 3], [1, 0, 0])
    np.testing.assert_allclose(view['image'][:, 10, 27], [0, 0, 200 / 255], rtol=1e-6)
    # The record keeps its own size and intrinsics.
    assert (view['height'], view['width']) == (40, 60) and (view['intrinsics'] == MATRIX).all()


@pytest.mark.parametrize('size', [(41, 60), (40, 61), (60, 40)])
def test_sizes_other_than_the_recorded_one_are_refused(tmp_path, size):
    with pytest.raises(InputError, match=rf'a\.png: the image is 60x40, its record says {size[1]}x{size[0]}'):
        load(save(tmp_path / 'a.png', 40, 60), *size, (20, 30))


def test_intrinsics_follow_a_rendering_of_another_size(tmp_path):
    """Half as wide, and a pixel higher than half as high."""
    view = load(save(tmp_path / 'a.png', 31, 25), 60, 50, (20, 30), resizable=True)
    assert (view['height'], view['width']) == (31, 25)
    np.testing.assert_allclose(view['intrinsics'], [[40, 0, 25], [0, 46.5, 15.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ('height', 'width', 'good'), [(31, 50, True), (29, 50, True), (32, 50, False), (30, 60, False)]
)
def test_a_rendering_may_be_a_pixel_off_the_shape_of_its_camera(tmp_path, height, width, good):
    path = save(tmp_path / 'a.png', height, width)
    if good:
        assert load(path, 60, 100, (20, 30), resizable=True)['height'] == height
    else:
        with pytest.raises(InputError, match='has not the shape'):
            load(path, 60, 100, (20, 30), resizable=True)
