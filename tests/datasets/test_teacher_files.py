"""Paths of the published layout, written out."""

from __future__ import annotations

import pytest

from projects.DistillNeRF.datasets.teacher_files import (
    UPWARD,
    VIRTUAL_VIEWS,
    feature_path,
    image_stem,
    label_map_paths,
    movable_mask_path,
    paths_beside,
    teacher_path,
    virtual_feature_path,
    virtual_view_files,
)

IMAGE = 'samples/CAM_FRONT/n015__CAM_FRONT__1532402927612460.jpg'
STEM = 'n015__CAM_FRONT__1532402927612460'


def test_the_stem_is_the_name_without_folder_and_suffix():
    assert image_stem(IMAGE) == STEM
    assert image_stem('a.b.png') == 'a.b'
    assert image_stem('x/25.jpg', scene='002') == '002_25'


@pytest.mark.parametrize(
    ('kind', 'view', 'expected'),
    [
        ('depth', '0_0_0', f'samples_0_0_0_0_0_0/depths/CAM_FRONT/{STEM}.npy'),
        ('sky_mask', '-1_0_0', f'samples_-1_0_0_0_0_0/gt_sky_masks/CAM_FRONT/{STEM}.npy'),
        ('rgb', '0_-1_0', f'samples_0_-1_0_0_0_0/rgbs/CAM_FRONT/{STEM}.jpg'),
    ],
)
def test_a_teacher_file_lies_below_its_view_kind_and_camera(kind, view, expected):
    assert teacher_path(kind, 'CAM_FRONT', image_stem(IMAGE), view) == expected


def test_the_original_view_is_the_default():
    assert teacher_path('depth', 'A', 'b') == 'samples_0_0_0_0_0_0/depths/A/b.npy'
    assert feature_path('A', 'b') == 'A/b.npy'


def test_virtual_views_stand_a_meter_to_the_left_to_the_right_and_above():
    """Along the axes of the camera: x right, y down."""
    assert VIRTUAL_VIEWS == {'-1_0_0': (-1.0, 0.0, 0.0), '1_0_0': (1.0, 0.0, 0.0), '0_-1_0': (0.0, -1.0, 0.0)}
    assert UPWARD == '0_-1_0'


def test_files_of_a_virtual_view_are_beside_those_of_the_original():
    recorded = {kind: teacher_path(kind, 'A', 'b') for kind in ('depth', 'sky_mask')}
    assert virtual_view_files(recorded, '1_0_0') == {
        'rgb': 'samples_1_0_0_0_0_0/rgbs/A/b.jpg',
        'depth': 'samples_1_0_0_0_0_0/depths/A/b.npy',
        'sky_mask': 'samples_1_0_0_0_0_0/gt_sky_masks/A/b.npy',
    }
    assert virtual_feature_path('A/b.npy', '1_0_0') == 'samples_1_0_0_0_0_0/A/b.npy'
    with pytest.raises(ValueError, match='not in the layout'):
        virtual_view_files({'depth': 'samples_0_0_0_0_0_0/other/A/b.npy'}, '1_0_0')


IMAGES = [('kitti_format/seg/image_1/007.jpg', '{}_1'), ('kitti_format/seg/undistorted_1/007.jpg', '{}_undistorted_1')]


@pytest.mark.parametrize(('image', 'folder'), IMAGES)
def test_files_of_waymo_lie_beside_their_images(image, folder):
    recorded = paths_beside(image)
    beside = f'kitti_format/seg/{folder}/007.npy'
    assert recorded == {'depth': beside.format('depth_img'), 'sky_mask': beside.format('sky_mask')}
    view = virtual_view_files(recorded, '-1_0_0')
    assert view.pop('rgb') == f'samples_-1_0_0_0_0_0/kitti_format/seg/{folder.format("image")}/007.jpg'
    assert view == {kind: f'samples_-1_0_0_0_0_0/{path}' for kind, path in recorded.items()}
    labels = beside.format('label').removesuffix('.npy')
    assert label_map_paths(recorded) == [f'{labels}.png', f'{labels}.npy']
    assert movable_mask_path(recorded) == beside.format('movable_mask')


def test_an_image_in_no_folder_has_no_files_beside_it():
    with pytest.raises(ValueError, match='lies in no folder'):
        paths_beside('007.jpg')
