"""Features of classes, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.pipelines.class_codes import CodeBookFeatures, LidarCodeBookFeatures
from projects.DistillNeRF.semantics.classes import CLASS_ID, CLASSES, SKY, UNKNOWN_CLASS, code_vector
from projects.DistillNeRF.utils.errors import InputError

CAR, ROAD = CLASS_ID['car'], CLASS_ID['road']


def test_every_cell_has_the_vector_of_the_class_at_its_place(tmp_path):
    """4 x 8 pixels of a map of twice the image's size 2 x 4; the cells (2 x 2) lie in the corners of the image."""
    classes = np.full((4, 8), ROAD, np.uint8)
    classes[1, 1], classes[1, 7], classes[3, 1] = CAR, SKY, CLASS_ID['bus']
    Image.fromarray(classes).save(tmp_path / 'a.png')
    view = {'img_path': 'x', 'paths': {'true_classes': str(tmp_path / 'a.png')}}
    results = {'image_size': (2, 4), 'render_size': (2, 2), 'views': {'a': view}}
    features = CodeBookFeatures().transform(results)['views']['a']['features']
    assert features.shape == (64, 2, 2) and features.flags['C_CONTIGUOUS']
    for place, name in (((0, 0), 'car'), ((0, 1), 'sky'), ((1, 0), 'bus'), ((1, 1), 'road')):
        np.testing.assert_array_equal(features[(slice(None), *place)], code_vector(name))


def seen(folder: Path, classes: np.ndarray, name: str = 'x.jpg', **settings: float) -> dict:
    """A view of an image of 20 x 36, rendered at 10 x 18, with the features of settings."""
    Image.fromarray(classes).save(folder / 'a.png')
    view = {'img_path': f'{folder}/{name}', 'paths': {'true_classes': str(folder / 'a.png')}}
    results = {'image_size': (20, 36), 'render_size': (10, 18), 'views': {'a': view}}
    return CodeBookFeatures(**settings).transform(results)['views']['a']


def random_classes(shape: tuple[int, int] = (40, 72)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 15, shape).astype(np.uint8)


def test_true_classes_come_with_the_features(tmp_path):
    """Also with those of patches: they are what queries are compared with."""
    classes = random_classes()
    exact, patches = seen(tmp_path, classes), seen(tmp_path, classes, patch=8, blur=1.0, noise=1.0)
    assert exact['true_classes'].dtype == np.float32 and exact['true_classes'].shape == (10, 18)
    np.testing.assert_array_equal(exact['true_classes'], patches['true_classes'])
    codes = np.stack([code_vector(name) for name in CLASSES])
    np.testing.assert_array_equal(codes[exact['true_classes'].astype(int)].transpose(2, 0, 1), exact['features'])


def test_features_of_patches_are_the_mean_of_their_pixels(tmp_path):
    """20 x 36 pixels in patches of 4: 5 x 9, each of 8 x 8 pixels of the class map."""
    classes = random_classes()
    features = seen(tmp_path, classes, patch=4)['features']
    assert features.shape == (64, 5, 9) and features.dtype == np.float32
    codes = np.stack([code_vector(name) for name in CLASSES])
    for row, column in np.ndindex(5, 9):
        inside = classes[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].ravel()
        np.testing.assert_allclose(features[:, row, column], codes[inside].mean(0), atol=1e-5)


def test_patches_that_do_not_divide_the_image_cover_all_of_it(tmp_path):
    classes = np.full((40, 72), ROAD, np.uint8)
    classes[:, 36:] = CAR
    features = seen(tmp_path, classes, patch=8)['features']
    assert features.shape == (64, 3, 5)
    np.testing.assert_allclose(features[:, :, 0], np.repeat(code_vector('road')[:, None], 3, 1), atol=1e-6)
    np.testing.assert_allclose(features[:, 2, 4], code_vector('car'), atol=1e-6)
    np.testing.assert_allclose(features[:, 1, 2], (code_vector('road') + code_vector('car')) / 2, atol=1e-5)


def test_blur_mixes_neighboring_patches(tmp_path):
    classes = np.full((40, 72), ROAD, np.uint8)
    classes[:, 36:] = CAR
    sharp, soft = (seen(tmp_path, classes, patch=4, blur=blur)['features'] for blur in (0, 1.0))
    share = [np.linalg.norm(part[:, 2] - code_vector('road')[:, None], axis=0) for part in (sharp, soft)]
    assert share[0][3] < 1e-5 < 0.05 < share[1][3] and share[1][0] < 0.01 and np.all(np.diff(share[1]) > -1e-6)
    assert np.isclose(share[0][8], share[0][5]) and share[1][5] < share[0][5]


def test_noise_is_as_large_as_asked_for_and_the_same_for_an_image_wherever_it_lies(tmp_path):
    classes = np.full((40, 72), ROAD, np.uint8)
    (tmp_path / 'b').mkdir()
    first, again, other = (
        seen(folder, classes, name, patch=2, noise=0.5)['features']
        for folder, name in ((tmp_path, 'x.jpg'), (tmp_path / 'b', 'x.jpg'), (tmp_path, 'y.jpg'))
    )
    np.testing.assert_array_equal(first, again)
    noise, more = (part - code_vector('road')[:, None, None] for part in (first, other))
    # Numbers of a code are 1 / 8 in size.
    assert noise.std() == pytest.approx(0.5 / 8, rel=0.03) and abs(noise.mean()) < 0.002
    assert abs(np.corrcoef(noise.ravel(), more.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize('settings', [{'patch': 0}, {'patch': 8, 'blur': -1}, {'noise': 0.5}, {'blur': 1.0}])
def test_settings_of_patches_that_mean_nothing(settings):
    with pytest.raises(ValueError, match='patch'):
        CodeBookFeatures(**settings)


def test_maps_of_something_else_are_refused(tmp_path):
    def load(array: np.ndarray) -> None:
        Image.fromarray(array).save(tmp_path / 'a.png')
        view = {'img_path': 'x', 'paths': {'true_classes': str(tmp_path / 'a.png')}}
        CodeBookFeatures().transform({'image_size': (2, 4), 'render_size': (2, 2), 'views': {'a': view}})

    load(np.full((4, 8), 14, np.uint8))
    for wrong in (np.full((4, 8), 15, np.uint8), np.zeros((4, 8, 3), np.uint8)):
        with pytest.raises(InputError, match='holds no ids of 15 classes'):
            load(wrong)
    with pytest.raises(InputError, match='no class map is known'):
        CodeBookFeatures().transform({'image_size': (2, 4), 'render_size': (2, 2), 'views': {'a': {'img_path': 'x'}}})


def test_classes_of_points_become_features_and_unknown_ones_nan():
    """The sky counts where no point has a class, and only there."""
    classes = np.array([[CAR, UNKNOWN_CLASS], [CAR, UNKNOWN_CLASS]], np.uint8)
    sky = np.array([[1, 1], [0, 0]], np.uint8)
    view = {'img_path': 'x', 'lidar_classes': classes, 'sky_mask': sky}
    features = LidarCodeBookFeatures().transform({'views': {'a': view}})['views']['a']['features']
    assert features.shape == (64, 2, 2)
    for place, name in (((0, 0), 'car'), ((1, 0), 'car'), ((0, 1), 'sky')):
        np.testing.assert_array_equal(features[(slice(None), *place)], code_vector(name))
    assert np.isnan(features[:, 1, 1]).all()
    bare = LidarCodeBookFeatures().transform({'views': {'a': {'img_path': 'x', 'lidar_classes': classes}}})
    assert np.isnan(bare['views']['a']['features'][:, :, 1]).all()
    with pytest.raises(InputError, match='no classes of LiDAR points were loaded'):
        LidarCodeBookFeatures().transform({'views': {'a': {'img_path': 'x'}}})
