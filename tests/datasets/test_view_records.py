"""Records of views by hand: poses in the world of the current keyframe, paths below their roots."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.datasets.view_records import ViewRecords

ROOTS = {'img': '/img', 'lidar': '/lidar', 'teacher': '/teacher', 'truth': '/truth', 'features': '/features'}


def at(x: float, y: float, z: float, turned: bool = False) -> np.ndarray:
    """A pose, turned by a quarter to the left about z or not."""
    pose = np.eye(4)
    if turned:
        pose[:2, :2] = [[0, -1], [1, 0]]
    pose[:3, 3] = x, y, z
    return pose


def measurement(x: float, name: str, **more: str) -> dict:
    points = {'lidar_path': f'{name}.bin', 'num_pts_feats': 4, **more}
    return {'lidar2global': at(x, 0, 0).tolist(), 'lidar_points': points}


INFO = {
    'token': 'a',
    **measurement(100, 'own', pts_semantic_mask_path='own.classes'),
    'lidar_sweeps': [measurement(101, 'first'), measurement(102, 'second')],
    'images': {
        'FRONT': {
            'img_path': 'x/b.png',
            'height': 60,
            'width': 100,
            'cam2img': [[80, 0, 50], [0, 81, 30], [0, 0, 1]],
            'cam2global': at(110, 5, 1).tolist(),
            'teacher': {
                'depth': 'samples_0_0_0_0_0_0/depths/FRONT/b.npy',
                'sky_mask': 'samples_0_0_0_0_0_0/gt_sky_masks/FRONT/b.npy',
            },
            'truth': {'depth': 't.npy'},
            'features': 'f.npy',
        }
    },
}
# The world of the sample stands at (100, 0, 0) and looks to the left: global (110, 5, 1) is (5, -10, 1) there.
WORLD = at(100, 0, 0, turned=True)


def records(maps=(), lidar: bool = True, sweeps: int = 1) -> ViewRecords:
    return ViewRecords(ROOTS, maps, lidar, sweeps)


def test_a_view_is_in_the_world_of_the_current_keyframe():
    view = records(lidar=False).view(INFO, (-1, 'FRONT'), WORLD)
    np.testing.assert_allclose(view['cam2world'], [[0, 1, 0, 5], [-1, 0, 0, -10], [0, 0, 1, 1], [0, 0, 0, 1]])
    assert view['intrinsics'].tolist() == [[80, 0, 50], [0, 81, 30], [0, 0, 1]]
    assert view['intrinsics'].dtype == np.float64
    rest = {key: value for key, value in view.items() if key not in ('cam2world', 'intrinsics')}
    expected = {'name': 'FRONT', 'frame': -1, 'token': 'a', 'img_path': '/img/x/b.png', 'height': 60, 'width': 100}
    assert rest == expected | {'paths': {}}


def test_every_kind_of_map_has_its_own_root():
    view = records(('teacher', 'truth', 'features'), lidar=False).view(INFO, (0, 'FRONT'), WORLD)
    assert view['paths'] == {
        'teacher_depth': '/teacher/samples_0_0_0_0_0_0/depths/FRONT/b.npy',
        'sky_mask': '/teacher/samples_0_0_0_0_0_0/gt_sky_masks/FRONT/b.npy',
        'true_depth': '/truth/t.npy',
        'features': '/features/f.npy',
    }
    assert not {'lidar', 'teacher_depth', 'sky_mask', 'true_depth', 'features'} & set(view)


def test_measurements_come_with_their_own_poses_the_keyframe_first():
    sweeps = records(sweeps=2).view(INFO, (0, 'FRONT'), WORLD)['lidar']
    assert [sweep['path'] for sweep in sweeps] == ['/lidar/own.bin', '/lidar/first.bin']
    assert [sweep['classes'] for sweep in sweeps] == ['/lidar/own.classes', None]
    assert [sweep['columns'] for sweep in sweeps] == [4, 4]
    # A meter to the global x is a meter back in a world that looks along it: -1 along its y.
    for sweep, meters in zip(sweeps, (0, 1), strict=True):
        expected = [[0, 1, 0, 0], [-1, 0, 0, -meters], [0, 0, 1, 0], [0, 0, 0, 1]]
        np.testing.assert_allclose(sweep['lidar2world'], expected, atol=1e-12)


def test_other_measurements_take_the_place_of_one_that_is_not_there():
    sweeps = records(sweeps=3).view({**INFO, 'lidar_points': None}, (0, 'FRONT'), WORLD)['lidar']
    assert [sweep['path'] for sweep in sweeps] == ['/lidar/first.bin', '/lidar/second.bin']
    assert records(sweeps=1).view({**INFO, 'lidar_points': None}, (0, 'FRONT'), WORLD)['lidar'] is None


def test_a_virtual_view_is_moved_along_the_axes_of_its_camera():
    made = records(('teacher', 'truth', 'features'))
    view = made.virtual_view(INFO, 'FRONT', '1_0_0', WORLD)
    plain = made.view(INFO, (0, 'FRONT'), WORLD)
    # Its x axis is -y of the world.
    np.testing.assert_allclose(view['cam2world'][:3, 3], [5, -11, 1])
    np.testing.assert_allclose(view['cam2world'][:3, :3], plain['cam2world'][:3, :3])
    up = made.virtual_view(INFO, 'FRONT', '0_-1_0', WORLD)
    np.testing.assert_allclose(up['cam2world'][:3, 3], [4, -10, 1])
    assert view['name'] == 'FRONT 1_0_0' and view['frame'] == 0 and view['resizable'] is True
    assert view['img_path'] == '/teacher/samples_1_0_0_0_0_0/rgbs/FRONT/b.jpg'
    assert view['paths'] == {
        'teacher_depth': '/teacher/samples_1_0_0_0_0_0/depths/FRONT/b.npy',
        'sky_mask': '/teacher/samples_1_0_0_0_0_0/gt_sky_masks/FRONT/b.npy',
        'features': '/features/samples_1_0_0_0_0_0/f.npy',
    }
    # Neither LiDAR nor truth is known there.
    assert view['lidar'] is None and view['true_depth'] is None
    bare = records(lidar=False).virtual_view(INFO, 'FRONT', '1_0_0', WORLD)
    assert not {'lidar', 'true_depth'} & set(bare) and not bare['paths']
