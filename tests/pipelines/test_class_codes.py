"""Features of classes, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.pipelines.class_codes import CodeBookFeatures, LidarCodeBookFeatures
from projects.DistillNeRF.semantics.classes import CLASS_ID, SKY, UNKNOWN_CLASS, code_vector
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
