"""PandaSet files of a few literal numbers: cuboids, points, links and sweeps of the infos."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from projects.DistillNeRF.datasets.converters import pandaset, pandaset_points
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.datasets.occupancy import ego2lidar
from tests.helpers.boxworld import rotation_z, shift
from tests.helpers.rawdata import pandaset_world, write_pandaset
from tests.helpers.refusals import assert_refused

# The vehicle heads 60 degrees to the left of PandaSet's y axis in frame 0: rotation_z(30) of the world, and no turn.
WORLD = pandaset_world(frames=4, size=(12, 20), lidar_frames=(0, 1), turn=0.0)


@pytest.fixture(scope='module')
def converted(tmp_path_factory) -> tuple[Path, list[dict]]:
    """The output folder and three training frames; the only cuboid of frame 0 is 2 m wide, 5 m long, 1.6 m high."""
    root = tmp_path_factory.mktemp('pandaset_literal')
    write_pandaset(WORLD, root / 'raw')
    cuboid = {'position.x': 410.0, 'position.y': -190.0, 'position.z': 1.0}
    cuboid |= {'dimensions.x': 2.0, 'dimensions.y': 5.0, 'dimensions.z': 1.6}
    table = pd.DataFrame([{**cuboid, 'yaw': math.radians(25), 'label': 'Car', 'uuid': 'u'}])
    table.to_pickle(root / 'raw/001/annotations/cuboids/00.pkl.gz')
    options = {'train_frames': (0, 2), 'val_frames': (3, 3), 'step': 2}
    train, _ = pandaset.convert(root / 'raw', root / 'out', **options)
    return root / 'out', load_infos(train)[1]


def test_a_cuboid_has_length_then_width_then_height_and_its_center(converted):
    (instance,) = converted[1][0]['instances']
    *center, length, width, height, _ = instance['bbox_3d']
    assert (length, width, height) == (5.0, 2.0, 1.6)
    expected = np.linalg.inv(converted[1][0]['lidar2global']) @ [410.0, -190.0, 1.0, 1]
    np.testing.assert_allclose(center, expected[:3], atol=1e-9)
    assert instance['label'] == 'Car'


def test_the_yaw_of_a_cuboid_is_that_of_its_length(converted):
    """PandaSet's yaw turns the y axis: at 25 degrees the length points 115 degrees from the x axis of the world."""
    info = converted[1][0]
    yaw = info['instances'][0]['bbox_3d'][6]
    heading = np.array(info['lidar2global'])[:3, :3].T @ [math.cos(math.radians(115)), math.sin(math.radians(115)), 0]
    assert (math.cos(yaw), math.sin(yaw)) == pytest.approx(tuple(heading[:2]), abs=1e-9)
    assert -math.pi <= yaw < math.pi


def test_the_lidar_frame_is_the_vehicle_frame_raised(converted):
    """The box world drives along its x axis, which the vehicle frame calls y; the origin is 1.5 m above it."""
    vehicle = shift(400, -200, 0) @ rotation_z(30) @ rotation_z(-90)
    # The ego frame is that of nuScenes: x forward.
    np.testing.assert_allclose(converted[1][0]['ego2global'], vehicle @ rotation_z(90), atol=1e-9)
    np.testing.assert_allclose(ego2lidar(converted[1][0]), shift(0, 0, -1.5) @ rotation_z(90), atol=1e-9)
    np.testing.assert_allclose(converted[1][0]['lidar2global'], vehicle @ shift(0, 0, 1.5), atol=1e-9)


def test_points_are_in_the_lidar_frame_of_their_own_frame(converted):
    out, infos = converted
    for frame in (0, 1):
        points = np.fromfile(out / infos[frame]['lidar_points']['lidar_path'], np.float32).reshape(-1, 6)
        expected = WORLD.points(WORLD.ego2global(frame) @ WORLD.lidar2ego)
        # Stored in float32 after a way through coordinates of hundreds of meters.
        np.testing.assert_allclose(points[:, :3], expected[:, :3], atol=1e-3)
        np.testing.assert_array_equal(points[:, 3], expected[:, 3])


def test_points_have_the_seconds_since_the_time_stamp_of_their_frame(tmp_path):
    """On PandaSet's clock, which float32 holds to two minutes only."""
    write_pandaset(WORLD, tmp_path / 'raw')
    table = pd.read_pickle(tmp_path / 'raw/001/lidar/01.pkl.gz')
    delays = np.array([-0.144, -0.1, -0.05, 0.0, 0.0345])[np.arange(len(table)) % 5]
    clock = 1557539956.5
    for path in (tmp_path / 'raw/001').rglob('timestamps.json'):
        path.write_text(json.dumps([clock + time for time in json.loads(path.read_text())]))
    for name, times in (('00', clock), ('01', clock + 0.1 + delays)):
        path = tmp_path / f'raw/001/lidar/{name}.pkl.gz'
        pd.read_pickle(path).assign(t=times).to_pickle(path)
    file, _ = pandaset.convert(tmp_path / 'raw', tmp_path, train_frames=(0, 1), val_frames=(2, 3), step=1)
    first, second = (info['lidar_points'] for info in load_infos(file)[1])
    assert second['time_column'] == 5 and second['num_pts_feats'] == 6
    points = np.fromfile(tmp_path / second['lidar_path'], np.float32).reshape(-1, 6)
    np.testing.assert_allclose(points[:, 5], delays, atol=1e-6)
    assert not np.fromfile(tmp_path / first['lidar_path'], np.float32).reshape(-1, 6)[:, 5].any()


def test_origins_of_beams_move_with_the_car(converted):
    """The box world drives 1 m per frame of 0.1 s along the y axis of the LiDAR frame, without a turn."""
    first, second = (info['lidar_points'] for info in converted[1][:2])
    at_end = np.array(pandaset_points.BEAM_ORIGINS) - [0, 0, pandaset_points.LIDAR_HEIGHT]
    step = np.linalg.inv(converted[1][0]['lidar2global']) @ np.array(converted[1][1]['lidar2global'])[:, 3]
    for points in (first, second):
        np.testing.assert_allclose(points['origins_velocity'], np.tile(step[:3] / 0.1, (2, 1)), atol=1e-6)
    # Nothing is known of the time before the first frame.
    assert first['origins_delay'] == 0 and second['origins_delay'] == pytest.approx(-0.05)
    np.testing.assert_allclose(first['origins'], at_end, atol=1e-9)
    np.testing.assert_allclose(second['origins'], at_end - step[:3] / 2, atol=1e-6)


def test_a_sensor_of_a_single_frame_stands():
    pose = WORLD.ego2global(0)
    assert not np.any(pandaset_points.beam_origins(pose, pose, pose, 0.0)['origins_velocity'])


def test_links_lead_step_frames_on(converted):
    _, infos = converted
    assert [info['token'] for info in infos] == ['001_00', '001_01', '001_02']
    assert [info['prev'] for info in infos] == [None, None, '001_00']
    assert [info['next'] for info in infos] == ['001_02', None, None]


def test_sweeps_are_the_other_frames_nearest_first(converted):
    _, infos = converted
    times = [[round(sweep['timestamp'], 3) for sweep in info['lidar_sweeps']] for info in infos]
    assert times == [[0.1], [0.0], [0.1, 0.0]]
    between = np.linalg.inv(infos[0]['lidar2global']) @ infos[2]['lidar2global']
    np.testing.assert_allclose(infos[2]['lidar_sweeps'][1]['lidar_points']['lidar2sensor'], between, atol=1e-9)


def test_a_grid_of_an_ego_frame_that_looks_to_the_side_is_refused(converted):
    """Infos of before had the vehicle frame, y forward, as ego frame: grids lay turned by 90 degrees."""
    info = converted[1][0]
    vehicle = np.array(info['ego2global']) @ rotation_z(-90)
    assert_refused(lambda: ego2lidar({**info, 'ego2global': vehicle.tolist()}), 'turned by -90 degrees', 'convert')
