"""nuScenes tables of a few literal numbers: boxes, sweeps and poses of the infos."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pyquaternion import Quaternion

from projects.DistillNeRF.datasets.converters import nuscenes
from projects.DistillNeRF.datasets.infos import load_infos
from tests.helpers.boxworld import BoxWorld
from tests.helpers.rawdata import BOX_CAMERA, write_nuscenes

# The car drives 2 m to the global x between two keyframes and does not turn; its frame is the global one, shifted.
WORLD = BoxWorld(frames=3, size=(12, 20), step=(2.0, 0.0), turn=0.0)
SIZE_OF_TABLE = [1.8, 4.2, 1.5]  # width, length, height


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(scope='module')
def infos(tmp_path_factory) -> list[dict]:
    """The keyframes of one scene; the first box of each is a car that heads 30 degrees left of the global x axis."""
    root = tmp_path_factory.mktemp('nuscenes_literal')
    write_nuscenes(WORLD, root, {'train': ['scene-a']})

    def turn(annotations: list[dict]) -> None:
        for annotation in annotations:
            if annotation['instance_token'].endswith('box0'):
                annotation.update(
                    size=SIZE_OF_TABLE,
                    rotation=list(Quaternion(axis=(0, 0, 1), degrees=30)),
                    num_lidar_pts=0,
                    num_radar_pts=0,
                )
                # One meter per keyframe of half a second to the global x.
                annotation['translation'][0] += int(annotation['sample_token'][-1])

    edit(root / 'v1.0-mini/sample_annotation.json', turn)
    return load_infos(nuscenes.convert(root, root, version='v1.0-mini')[0])[1]


def lidar2global(frame: int) -> np.ndarray:
    return WORLD.ego2global(frame) @ WORLD.lidar2ego


def test_a_box_has_length_then_width_then_height(infos):
    x, y, z, *size, _ = infos[1]['instances'][0]['bbox_3d']
    assert size == [4.2, 1.8, 1.5]
    low, high = WORLD.boxes()[0]
    center = np.linalg.inv(lidar2global(1)) @ [*((low + high) / 2 + [1, 0, 0]), 1]
    np.testing.assert_allclose([x, y, z], center[:3], atol=1e-9)


def test_the_yaw_of_a_box_is_that_of_its_length_in_the_lidar_frame(infos):
    yaw = infos[0]['instances'][0]['bbox_3d'][6]
    heading = lidar2global(0)[:3, :3].T @ [math.cos(math.radians(30)), math.sin(math.radians(30)), 0]
    assert (math.cos(yaw), math.sin(yaw)) == pytest.approx(tuple(heading[:2]), abs=1e-9)


def test_the_velocity_of_a_box_is_in_the_lidar_frame(infos):
    velocity = lidar2global(1)[:3, :3].T @ [2.0, 0, 0]
    assert infos[1]['instances'][0]['velocity'] == pytest.approx(velocity[:2].tolist(), abs=1e-9)


def test_labels_and_counts_of_boxes(infos):
    first, second = infos[0]['instances'][:2]
    assert first['bbox_label'] == first['bbox_label_3d'] == 0 and first['category'] == 'vehicle.car'
    assert not first['bbox_3d_isvalid'] and second['bbox_3d_isvalid']


def test_sweeps_have_their_own_poses_and_lead_into_their_own_frame(infos):
    """Newest first; a sweep's pose is not that of the keyframe, which stands 2 m and 4 m farther on."""
    sweeps = infos[2]['lidar_sweeps']
    assert [sweep['timestamp'] for sweep in sweeps] == [0.5, 0.0]
    for sweep, frame in zip(sweeps, (1, 0), strict=True):
        np.testing.assert_allclose(sweep['ego2global'], WORLD.ego2global(frame), atol=1e-9)
        np.testing.assert_allclose(sweep['lidar2global'], lidar2global(frame), atol=1e-9)
        between = np.linalg.inv(lidar2global(frame)) @ lidar2global(2)
        np.testing.assert_allclose(sweep['lidar_points']['lidar2sensor'], between, atol=1e-9)
        assert np.linalg.norm(np.array(sweep['lidar_points']['lidar2sensor'])[:3, 3]) == pytest.approx(
            2.0 * (2 - frame)
        )


def test_times_are_seconds_and_images_have_those_of_their_cameras(infos):
    assert [info['timestamp'] for info in infos] == [0.0, 0.5, 1.0]
    # In the order of the ring the cameras fire 0.4, 0.3, 0.2, 0.1, 0.05, 0.35 keyframes early.
    times = [image['timestamp'] for image in infos[2]['images'].values()]
    assert times == pytest.approx([0.8, 0.85, 0.9, 0.95, 0.975, 0.825])


def test_cameras_stand_on_the_car_of_their_own_time(infos):
    for (name, image), lag in zip(infos[1]['images'].items(), WORLD.lags, strict=True):
        cam2ego = WORLD.cam2ego(BOX_CAMERA[name])
        np.testing.assert_allclose(image['cam2ego'], cam2ego, atol=1e-9)
        np.testing.assert_allclose(image['cam2global'], WORLD.ego2global(1 - lag) @ cam2ego, atol=1e-9)
