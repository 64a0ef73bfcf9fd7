"""Paths of the published layout, written out."""

from __future__ import annotations

import pytest

from projects.DistillNeRF.datasets.teacher_files import (
    UPWARD,
    VIRTUAL_VIEWS,
    feature_path,
    image_stem,
    teacher_files,
    teacher_path,
)

IMAGE = 'samples/CAM_FRONT/n015__CAM_FRONT__1532402927612460.jpg'
STEM = 'n015__CAM_FRONT__1532402927612460'


def test_the_stem_is_the_name_without_folder_and_suffix():
    assert image_stem(IMAGE) == STEM
    assert image_stem('a.b.png') == 'a.b'


@pytest.mark.parametrize(
    ('kind', 'shift', 'expected'),
    [
        ('depths', (0, 0, 0), f'samples_0_0_0_0_0_0/depths/CAM_FRONT/{STEM}.npy'),
        ('gt_sky_masks', (-1, 0, 0), f'samples_-1_0_0_0_0_0/gt_sky_masks/CAM_FRONT/{STEM}.npy'),
        ('rgbs', (0, -1, 0), f'samples_0_-1_0_0_0_0/rgbs/CAM_FRONT/{STEM}.jpg'),
    ],
)
def test_files_of_the_teacher(kind, shift, expected):
    assert teacher_path(kind, 'CAM_FRONT', IMAGE, shift) == expected


def test_the_original_view_is_usual():
    assert teacher_path('depths', 'A', 'x/b.jpg') == 'samples_0_0_0_0_0_0/depths/A/b.npy'
    assert feature_path('A', 'x/b.jpg') == 'A/b.npy'


def test_virtual_views_stand_a_meter_to_the_left_to_the_right_and_above():
    """Along the axes of the camera: x right, y down."""
    assert VIRTUAL_VIEWS == {'-1_0_0': (-1.0, 0.0, 0.0), '1_0_0': (1.0, 0.0, 0.0), '0_-1_0': (0.0, -1.0, 0.0)}
    assert UPWARD == '0_-1_0'


def test_files_of_a_virtual_view_are_beside_those_of_the_original():
    teacher = {
        'depth': teacher_path('depths', 'A', 'x/b.jpg'),
        'sky_mask': teacher_path('gt_sky_masks', 'A', 'x/b.jpg'),
    }
    files = teacher_files({'images': {'A': {'teacher': teacher}}}, 'A', '1_0_0')
    assert files == {
        'rgb': 'samples_1_0_0_0_0_0/rgbs/A/b.jpg',
        'depth': 'samples_1_0_0_0_0_0/depths/A/b.npy',
        'sky_mask': 'samples_1_0_0_0_0_0/gt_sky_masks/A/b.npy',
    }
    with pytest.raises(ValueError, match='not in the layout'):
        teacher_files({'images': {'A': {'teacher': {'depth': 'samples_0_0_0_0_0_0/other/A/b.npy'}}}}, 'A', '1_0_0')
