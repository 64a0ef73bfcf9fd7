"""The exported data set, read by nuscenes-devkit and compared with what the town holds."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import BoxVisibility, transform_matrix, view_points
from PIL import Image
from pyquaternion import Quaternion
from scipy.ndimage import map_coordinates

from projects.MiniTown.generate import VERSION
from projects.MiniTown.rig import CAMERAS
from projects.MiniTown.scene import SCENE_PERIOD, START_OF_FIRST_SCENE

matplotlib.use('Agg')

CHANNELS = [camera.name for camera in CAMERAS]


@pytest.fixture(scope='module')
def nusc(box_dataset: Path) -> NuScenes:
    return NuScenes(version=VERSION, dataroot=str(box_dataset), verbose=False)


def images(nusc: NuScenes) -> list[dict]:
    """Return the images of all key frames."""
    return [nusc.get('sample_data', sample['data'][channel]) for sample in nusc.sample for channel in CHANNELS]


def truth_file(nusc: NuScenes, kind: str, image: dict, suffix: str) -> Path:
    name = Path(image['filename'])
    return Path(nusc.dataroot) / 'truth' / kind / name.parent.name / f'{name.stem}{suffix}'


def sensor_pose(nusc: NuScenes, image: dict) -> np.ndarray:
    """Return sensor to global, from the tables."""
    calibrated = nusc.get('calibrated_sensor', image['calibrated_sensor_token'])
    ego = nusc.get('ego_pose', image['ego_pose_token'])
    return np.linalg.multi_dot(
        [transform_matrix(row['translation'], Quaternion(row['rotation'])) for row in (ego, calibrated)]
    )


def test_tables_are_complete_and_files_are_there(nusc: NuScenes) -> None:
    assert [scene['name'] for scene in nusc.scene] == ['minitown-0001', 'minitown-0002']
    assert len(nusc.sample) == 6
    for sample in nusc.sample:
        assert set(sample['data']) == {*CHANNELS, 'LIDAR_TOP'}
    for row in nusc.sample_data:
        file = Path(nusc.dataroot) / row['filename']
        assert file.stat().st_size > 0
        assert row['is_key_frame'] == row['filename'].startswith('samples/')
        if row['fileformat'] == 'jpg':
            assert Image.open(file).size == (row['width'], row['height']) == (100, 56)


@pytest.mark.parametrize('table', ['sample', 'sample_annotation', 'sample_data'])
def test_rows_are_linked_in_both_directions(nusc: NuScenes, table: str) -> None:
    rows = getattr(nusc, table)
    for row in rows:
        if row['next']:
            after = nusc.get(table, row['next'])
            assert after['prev'] == row['token']
            if 'timestamp' in row:
                assert after['timestamp'] > row['timestamp']
    starts = sum(not row['prev'] for row in rows)
    assert starts == {'sample': 2, 'sample_data': 2 * 7, 'sample_annotation': len(nusc.instance)}[table]


def test_sweeps_lie_between_their_key_frames(nusc: NuScenes) -> None:
    sweeps = [row for row in nusc.sample_data if not row['is_key_frame']]
    assert len(sweeps) == 2 * (2 * 4 + 6 * 2)
    for row in sweeps:
        sample = nusc.get('sample', row['sample_token'])
        before = nusc.get('sample', sample['prev'])
        assert before['timestamp'] < row['timestamp'] < sample['timestamp']


def test_multi_sweep_clouds_agree_on_the_static_world(nusc: NuScenes) -> None:
    sample = nusc.sample[2]
    cloud, times = LidarPointCloud.from_file_multisweep(nusc, sample, 'LIDAR_TOP', 'LIDAR_TOP', nsweeps=5)
    assert np.allclose(np.unique(times.round(3)), [0.0, 0.1, 0.2, 0.3, 0.4])
    lidar = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
    ground = (sensor_pose(nusc, lidar) @ np.vstack([cloud.points[:3], np.ones(cloud.nbr_points())]))[2]
    road = np.abs(ground) < 0.2
    assert road.mean() > 0.3
    assert np.median(np.abs(ground[road])) < 0.01


def test_lidar_points_fall_on_the_depth_of_every_image(nusc: NuScenes) -> None:
    for image in images(nusc):
        sample = nusc.get('sample', image['sample_token'])
        points, depth, _ = nusc.explorer.map_pointcloud_to_image(sample['data']['LIDAR_TOP'], image['token'])
        truth = np.load(truth_file(nusc, 'depth', image, '.npy')).astype(np.float64)
        assert truth.shape == (56, 100)
        # On a plane 1 / z is linear in the pixels, so that this is exact but for edges and the noise of the LiDAR.
        inverse = np.where(np.isnan(truth), 0.0, 1.0 / truth)
        error = np.abs(1.0 / map_coordinates(inverse, points[[1, 0]], order=1) - depth)
        assert len(error) > 100
        assert np.median(error) < 0.02
        assert (error < 0.1).mean() > 0.8


def test_boxes_enclose_the_pixels_of_their_objects(nusc: NuScenes) -> None:
    compared = 0
    for image in images(nusc):
        scene = nusc.get('scene', nusc.get('sample', image['sample_token'])['scene_token'])
        tokens = instance_tokens(Path(nusc.dataroot), scene['name'])
        numbers = np.array(Image.open(truth_file(nusc, 'instances', image, '.png')))
        _, boxes, intrinsic = nusc.get_sample_data(image['token'], BoxVisibility.ALL)
        for box in boxes:
            annotation = nusc.get('sample_annotation', box.token)
            shown = numbers == tokens.index(annotation['instance_token']) + 1
            if annotation['visibility_token'] != '4' or shown.sum() < 30:
                continue
            corners = view_points(box.corners(), intrinsic, normalize=True)[:2]
            line, column = np.nonzero(shown)
            found = np.array([column.min() - 0.5, line.min() - 0.5, column.max() + 0.5, line.max() + 0.5])
            expected = np.concatenate([corners.min(axis=1), corners.max(axis=1)])
            assert np.abs(found - expected).max() < 1.5
            compared += 1
    assert compared >= 6


def instance_tokens(root: Path, scene: str) -> list[str]:
    return json.loads((root / 'records' / f'{scene}.json').read_text())['instances']


def test_ego_poses_hold_at_their_time_stamps(nusc: NuScenes) -> None:
    trucks = {}
    for annotation in nusc.sample_annotation:
        if annotation['category_name'] == 'vehicle.truck':
            trucks[nusc.get('sample', annotation['sample_token'])['scene_token']] = annotation['translation']
    for image in nusc.sample_data:
        scene = nusc.get('sample', image['sample_token'])['scene_token']
        index = [row['token'] for row in nusc.scene].index(scene)
        seconds = (image['timestamp'] - START_OF_FIRST_SCENE - index * SCENE_PERIOD) * 1e-6
        ego = nusc.get('ego_pose', image['ego_pose_token'])
        assert ego['timestamp'] == image['timestamp']
        # The truck stands 14 m behind and 2 m to the right of where the car starts; the car does 5 m/s.
        expected = np.array([-14.0 - 5.0 * seconds, -2.0])
        assert np.allclose(np.subtract(trucks[scene], ego['translation'])[:2], expected, atol=1e-6)


def test_hidden_objects_are_marked_as_such(nusc: NuScenes) -> None:
    levels = {}
    for annotation in nusc.sample_annotation:
        levels.setdefault(annotation['category_name'], set()).add(int(annotation['visibility_token']))
    # The pedestrian walks behind the car ahead; only his head shows.
    assert max(levels['human.pedestrian.adult']) <= 2
    assert 4 in levels['vehicle.car']


def test_velocities_and_attributes_follow_the_motion(nusc: NuScenes) -> None:
    attributes = {}
    for annotation in nusc.sample_annotation:
        speed = np.linalg.norm(nusc.box_velocity(annotation['token']))
        name = nusc.get('attribute', annotation['attribute_tokens'][0])['name']
        attributes.setdefault(name, []).append(speed)
    assert set(attributes) == {'vehicle.moving', 'vehicle.parked', 'pedestrian.moving'}
    assert np.allclose(attributes['vehicle.moving'], 2.0, atol=1e-6)
    assert np.allclose(attributes['vehicle.parked'], 0.0)


def test_devkit_draws_samples_and_maps(nusc: NuScenes, tmp_path: Path) -> None:
    sample = nusc.sample[1]
    for channel in ('CAM_FRONT', 'LIDAR_TOP'):
        file = tmp_path / f'{channel}.png'
        nusc.render_sample_data(sample['data'][channel], out_path=str(file), verbose=False)
        assert file.stat().st_size > 0
    nusc.render_egoposes_on_map(nusc.log[0]['location'], out_path=str(tmp_path / 'map.png'))
    matplotlib.pyplot.close('all')


def test_map_mask_lies_under_the_drive(nusc: NuScenes) -> None:
    for sample in nusc.sample:
        log = nusc.get('log', nusc.get('scene', sample['scene_token'])['log_token'])
        mask = nusc.get('map', log['map_token'])['mask']
        ego = nusc.get('ego_pose', sample['data']['LIDAR_TOP'])['translation']
        # The road is 8 m wide, the car in its middle; the map is exact to a pixel.
        across = np.array([-4.2, -3.8, 0.0, 3.8, 4.2]) + ego[1]
        assert mask.is_on_mask(np.full(5, ego[0]), across).tolist() == [False, True, True, True, False]
