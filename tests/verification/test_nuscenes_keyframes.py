"""Keyframes without LiDAR: points that images tell of a wall whose place is known, and which frames go where."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.infos import Info, load_infos
from projects.DistillNeRF.engine.builders import build_dataset
from tests.helpers.data import ROOT
from verification.image_points import Image, triangulate
from verification.nuscenes_keyframes import CALIBRATION, main

# The wall stands across the road, so far ahead of the ego frame of the first keyframe; meters from frame to frame.
WALL, STEP = 30.0, 2.0
HEIGHT, WIDTH = 240, 400
K = np.array([[300.0, 0, 200], [0, 300, 120], [0, 0, 1]])
# x right, y down, z forward, to x forward, y left, z up.
CAM2EGO = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]])
LIDAR2EGO = np.array([[0.0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.84], [0, 0, 0, 1]])
# Pixels of the texture per meter.
TEXELS = 10.0


@functools.cache
def texture_of_the_wall() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (1000, 1000)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, None, 3.0), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def wall_seen_from(forward: float) -> np.ndarray:
    """Return the image ``(H, W)`` of a camera that has gone so many meters."""
    distance = WALL - forward - CAM2EGO[0, 3]
    # Texel (500, 500) is straight ahead.
    texel2cam = np.array([[1 / TEXELS, 0, -50], [0, 1 / TEXELS, -50], [0, 0, distance]])
    return cv2.warpPerspective(texture_of_the_wall(), K @ texel2cam, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def pose_after(forward: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = forward
    return pose


def write_drive(folder: Path, frames: int = 4) -> Path:
    """Write keyframes of a drive towards the wall; refined poses are half a meter farther along."""
    content = {
        'image_size': [WIDTH, HEIGHT],
        'lidar2ego': LIDAR2EGO.tolist(),
        'cameras': {'CAM_FRONT': {'K': K.tolist(), 'cam2ego': CAM2EGO.tolist()}},
        'frames': [],
        'joint_refinement': {'cam2ego': {'CAM_FRONT': CAM2EGO.tolist()}, 'ego2global': []},
    }
    for number in range(frames):
        # The image is taken a tenth of a meter before the pose of the keyframe.
        assert cv2.imwrite(str(folder / f'{number}.png'), wall_seen_from(number * STEP - 0.1))
        time = 1_533_151_603_500_000 + number * 500_000
        content['frames'].append(
            {
                'sample_token': f'token{number}',
                'lidar_timestamp_us': time,
                'images': {'CAM_FRONT': f'{number}.png'},
                'camera_timestamp': {'CAM_FRONT': {'us': time - 40_000}},
                'ego2global': pose_after(number * STEP).tolist(),
                'exposure_ego2ego': {'CAM_FRONT': pose_after(-0.1).tolist()},
            }
        )
        content['joint_refinement']['ego2global'].append(pose_after(number * STEP + 0.5).tolist())
    (folder / CALIBRATION).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='module')
def drive(tmp_path_factory) -> Path:
    return write_drive(tmp_path_factory.mktemp('drive'))


@pytest.fixture(scope='module')
def written(drive, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('out')
    main([str(drive), '--out', str(out)])
    return out


def infos_of(out: Path, split: str) -> list[Info]:
    return load_infos(out / f'nuscenes_infos_{split}.pkl')[1]


def test_nothing_of_the_last_keyframe_is_trained_on(written):
    train, val = infos_of(written, 'train'), infos_of(written, 'val')
    assert [info['token'] for info in train] == ['token0', 'token1', 'token2']
    expected = [(None, 'token1', 'token2'), ('token1', 'token2', 'token3'), ('token2', 'token3', None)]
    assert [(info['prev'], info['token'], info['next']) for info in val] == expected
    assert train[-1]['next'] is None and '3.png' not in str(train)
    # Of the frame that is in both, points are made of other pairs.
    paths = [info['lidar_points']['lidar_path'] for info in (train[2], val[1])]
    before, after = (np.fromfile(written / path, np.float32) for path in paths)
    assert before.shape != after.shape or not np.array_equal(before, after)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_points_lie_on_the_wall_in_the_lidar_frame_of_their_keyframe(written, split):
    for info in infos_of(written, split):
        points = np.fromfile(written / info['lidar_points']['lidar_path'], np.float32).reshape(-1, 3)
        ahead = WALL - info['frame'] * STEP - LIDAR2EGO[0, 3]
        assert len(points) > 500
        error = np.abs(points[:, 1] / ahead - 1)
        assert np.median(error) < 0.02 and np.quantile(error, 0.9) < 0.1


def test_the_dataset_makes_depth_images_of_them(written):
    """z of the wall from the camera, at the time of the image."""
    dataset = 'train_dataloader.dataset'
    options = {
        'data_root': str(written),
        f'{dataset}.ann_file': 'nuscenes_infos_train.pkl',
        f'{dataset}.lidar_sweeps': 1,
    }
    config = ROOT / 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_pandaset.py'
    views = build_dataset(load_config(config, options), 'train')[1]['inputs']['input_views']
    depth = views.lidar_depth[views.lidar_depth.isfinite()]
    assert len(depth) > 100
    assert abs(depth.median().item() / (WALL - STEP + 0.1 - CAM2EGO[0, 3]) - 1) < 0.03


def test_an_info_file_is_cut_as_a_folder_is(written, tmp_path):
    source = written / 'nuscenes_infos_train.pkl'
    main([str(source), '--out', str(tmp_path), '--keyframes', '3'])
    assert [info['token'] for info in infos_of(tmp_path, 'train')] == ['token0', 'token1']
    (first, *_), (again, *_) = infos_of(written, 'train'), infos_of(tmp_path, 'train')
    assert first['images']['CAM_FRONT']['cam2global'] == again['images']['CAM_FRONT']['cam2global']
    assert (tmp_path / again['images']['CAM_FRONT']['img_path']).resolve().name == '0.png'


def test_refined_poses_are_taken_if_asked_for(drive, tmp_path):
    main([str(drive), '--out', str(tmp_path), '--refined'])
    assert infos_of(tmp_path, 'train')[1]['ego2global'][0][3] == STEP + 0.5


def test_what_moves_across_gives_no_points():
    first, second = (Image(wall_seen_from(x), K, pose_after(x) @ CAM2EGO) for x in (0.0, STEP))
    patch = (slice(60, 120), slice(80, 160))
    moving = dataclasses.replace(second, gray=second.gray.copy())
    # Up by six pixels, where the wall moves down and to the left.
    moving.gray[54:114, 80:160] = first.gray[patch]

    def in_patch(points: np.ndarray) -> int:
        x = (points - first.cam2world[:3, 3]) @ first.cam2world[:3, :3]
        u, v = (x @ K.T)[:, :2].T / x[:, 2]
        return int(((u > 90) & (u < 150) & (v > 70) & (v < 110)).sum())

    assert in_patch(triangulate(first, second)) > 100
    assert in_patch(triangulate(first, moving)) < 5


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: content['frames'][1].pop('exposure_ego2ego'), "lacks 'exposure_ego2ego'"),
        (lambda content: content['frames'].pop(), 'has 2 keyframes; give three or more'),
        (lambda content: content.pop('joint_refinement'), "lacks 'joint_refinement'"),
    ],
)
def test_a_calibration_that_lacks_something_is_refused(tmp_path, change, message, capsys):
    path = write_drive(tmp_path, frames=3) / CALIBRATION
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), '--out', str(tmp_path / 'out'), '--refined'])
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_an_info_file_without_so_many_keyframes_is_refused(written, capsys):
    for words, message in (
        (['--scene', 'scene-0001'], 'has 0 keyframes of scene-0001, not 4; its scenes: scene-0103'),
        (['--refined'], 'has no refined poses'),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([str(written / 'nuscenes_infos_train.pkl'), '--out', str(written / 'again'), *words])
        assert stopped.value.code == 2 and message in capsys.readouterr().err
