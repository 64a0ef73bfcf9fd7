"""Truth and teacher files beside the data set: virtual views, the novel-view path, occupancy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.datasets.teacher_files import VIRTUAL_VIEWS
from projects.MiniTown.occupancy import FREE, LOWER, SHAPE, VOXEL, lidar_mask, voxelize, without_hidden
from projects.MiniTown.rig import CAMERAS, Lidar, transform
from projects.MiniTown.truth import TEACHER_SKY_DEPTH, teacher_root

CAMERA = {camera.name: camera for camera in CAMERAS}
ROAD, WALL, CAR, TRUCK = 11, 15, 4, 10


def keyframe_images(root: Path) -> list[tuple[str, str]]:
    """Return (camera, stem) of every key frame's images."""
    return [(file.parent.name, file.stem) for file in sorted((root / 'samples').glob('CAM_*/*.jpg'))]


def unprojected(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    line, column = np.nonzero(np.isfinite(depth))
    rays = np.stack([column, line, np.ones_like(line)], axis=-1) @ np.linalg.inv(intrinsics).T
    return rays * depth[line, column][:, None]


@pytest.mark.parametrize(
    ('view', 'motion'), [('-1_0_0', (-1.0, 0.0, 0.0)), ('1_0_0', (1.0, 0.0, 0.0)), ('0_-1_0', (0.0, -1.0, 0.0))]
)
def test_virtual_views_show_the_parallax_of_their_motion(
    box_dataset: Path, view: str, motion: tuple[float, float, float]
) -> None:
    for channel, stem in keyframe_images(box_dataset):
        intrinsics = CAMERA[channel].intrinsics(56, 100)
        depth = np.load(box_dataset / 'truth' / 'depth' / channel / f'{stem}.npy').astype(np.float64)
        virtual = np.load(box_dataset / 'truth' / 'virtual' / view / 'depth' / channel / f'{stem}.npy')
        points = unprojected(depth, intrinsics) - motion
        pixels = points @ intrinsics.T
        column, line = np.rint(pixels[:, :2] / pixels[:, 2:]).astype(int).T
        inside = (column >= 0) & (column < 100) & (line >= 0) & (line < 56)
        error = np.abs(virtual[line[inside], column[inside]] - points[inside, 2]) / points[inside, 2]
        assert inside.mean() > 0.3
        assert np.nanmedian(error) < 0.02


def test_teacher_says_what_the_truth_says(box_dataset: Path) -> None:
    for channel, stem in keyframe_images(box_dataset):
        truth = np.load(box_dataset / 'truth' / 'depth' / channel / f'{stem}.npy')
        sky = np.array(Image.open(box_dataset / 'truth' / 'sky' / channel / f'{stem}.png')) == 255
        assert (np.isnan(truth) == sky).all()
        folder = teacher_root(box_dataset) / 'samples_0_0_0_0_0_0'
        depth = np.load(folder / 'depths' / channel / f'{stem}.npy')
        assert np.array_equal(np.load(folder / 'gt_sky_masks' / channel / f'{stem}.npy') == 1, sky)
        assert np.array_equal(depth[~sky], truth[~sky])
        assert (depth[sky] == TEACHER_SKY_DEPTH).all()
        original = (box_dataset / 'samples' / channel / f'{stem}.jpg').read_bytes()
        assert (folder / 'rgbs' / channel / f'{stem}.jpg').read_bytes() == original
        for view in VIRTUAL_VIEWS:
            folder = teacher_root(box_dataset) / f'samples_{view}_0_0_0'
            virtual = (box_dataset / 'truth' / 'virtual' / view / 'rgb' / channel / f'{stem}.jpg').read_bytes()
            assert (folder / 'rgbs' / channel / f'{stem}.jpg').read_bytes() == virtual != original


def test_left_right_path_moves_along_the_lidars_x_axis(box_dataset: Path) -> None:
    paths = json.loads((box_dataset / 'truth' / 'left_right.json').read_text())
    splits = json.loads((box_dataset / 'splits.json').read_text())
    assert splits == {'train': ['minitown-0001'], 'val': ['minitown-0002']}
    assert [(path['scene'], path['camera']) for path in paths] == [('minitown-0002', 'CAM_FRONT')]
    (path,) = paths
    views = path['views']
    assert np.allclose([view['offset'] for view in views], np.arange(-12, 13) / 10)
    start = np.array(views[12]['cam2lidar'])
    for view in views:
        pose = np.array(view['cam2lidar'])
        assert np.allclose(pose[:3, :3], start[:3, :3])
        assert np.allclose(pose[:3, 3] - start[:3, 3], [view['offset'], 0.0, 0.0])
        assert Image.open(box_dataset / view['rgb']).size == (100, 56)
    stem = Path(views[12]['rgb']).parent.name
    original = (box_dataset / 'samples' / 'CAM_FRONT' / f'{stem}.jpg').read_bytes()
    assert (box_dataset / views[12]['rgb']).read_bytes() == original
    # Where the camera was when it fired, in the LiDAR frame of the key frame: 35.5 ms earlier at 5 m/s.
    expected = np.linalg.inv(Lidar().lidar2ego) @ (CAMERA['CAM_FRONT'].cam2ego[:, 3] - [5.0 * 0.0355, 0.0, 0.0, 0.0])
    assert np.allclose(start[:3, 3], expected[:3])


def labels(root: Path, scene: str, keyframe: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the occupancy of a key frame and its LiDAR points in the ego frame."""
    record = json.loads((root / 'records' / f'{scene}.json').read_text())['tables']
    sample = record['sample'][keyframe]
    (lidar,) = (
        row
        for row in record['sample_data']
        if row['is_key_frame'] and row['sample_token'] == sample['token'] and 'LIDAR' in row['filename']
    )
    points = np.fromfile(root / lidar['filename'], np.float32).reshape(-1, 5)
    found = dict(np.load(root / 'gts' / scene / sample['token'] / 'labels.npz'))
    return found, transform(Lidar().lidar2ego, points[:, :3].astype(np.float64))


def voxel(x: float, y: float, z: float) -> tuple[int, ...]:
    return tuple(np.floor((np.array([x, y, z]) - LOWER) / VOXEL).astype(int))


def test_occupancy_holds_the_town(box_dataset: Path) -> None:
    found, points = labels(box_dataset, 'minitown-0001', 1)
    semantics = found['semantics']
    assert {key: (value.dtype, value.shape) for key, value in found.items()} == dict.fromkeys(
        ('semantics', 'mask_lidar', 'mask_camera'), (np.dtype(np.uint8), (200, 200, 16))
    )
    inside = np.all((points > LOWER) & (points < -LOWER[0]), axis=-1) & (points[:, 2] < 5.4)
    where = tuple(np.floor((points[inside] - LOWER) / VOXEL).astype(int).T)
    assert (semantics[where] != FREE).mean() > 0.99
    assert found['mask_lidar'][where].all()
    # Key frame 1 is at 0.6 s, the car then at x = 3 m.
    assert semantics[voxel(8.0, -3.0, 0.0)] == ROAD
    assert semantics[voxel(8.0, 10.2, 3.0)] == WALL
    assert semantics[voxel(3.0 - 3.0, 6.0, 1.59)] == CAR
    assert semantics[voxel(-14.0 - 3.0, -2.0, 2.89)] == TRUCK
    assert semantics[voxel(8.0, -3.0, 2.0)] == FREE
    assert set(np.unique(semantics)) == {CAR, 7, TRUCK, ROAD, WALL, FREE}


def test_masks_tell_what_is_seen(box_dataset: Path) -> None:
    found, _ = labels(box_dataset, 'minitown-0001', 1)
    camera, lidar = found['mask_camera'].astype(bool), found['mask_lidar'].astype(bool)
    assert camera[voxel(8.0, -3.0, 0.0)]
    assert camera[voxel(6.0, 1.0, 1.5)]
    for mask in (camera, lidar):
        assert not mask[voxel(8.0, 12.0, 2.0)], 'behind the wall'
        assert not mask[voxel(8.0, -3.0, -0.9)], 'under the road'
        assert not mask[voxel(15.0 + 1.2 - 3.0, 0.5, 0.8)], 'inside the car ahead'
    # The road beside the car ahead is seen without gaps, although one pixel spans several voxels there.
    x, y, z = voxel(6.0, -3.0, 0.0)
    assert camera[x : x + 60, y, z].mean() > 0.95


def test_objects_win_over_the_ground_below_them() -> None:
    points = np.concatenate([np.full((5, 3), 0.1), [[0.1, 0.1, 0.15]], [[10.1, 0.1, 0.1]]])
    semantics = voxelize(points, np.array([ROAD] * 5 + [CAR] + [ROAD]))
    assert semantics[voxel(0.1, 0.1, 0.1)] == CAR
    assert semantics[voxel(10.1, 0.1, 0.1)] == ROAD
    assert (semantics != FREE).sum() == 2


def test_insides_are_not_part_of_the_labels() -> None:
    semantics = np.full(SHAPE, FREE, np.uint8)
    semantics[:, :, 2] = ROAD
    semantics[20:30, 20:30, 2:12] = WALL
    semantics[21:29, 21:29, 3:11] = FREE
    semantics[25, 25, 5] = CAR
    kept = without_hidden(semantics, np.array([0.9, 0.0, 1.8]))
    assert kept[25, 25, 5] == FREE
    assert kept[25, 25, 2] == FREE
    assert kept[20, 25, 8] == kept[25, 25, 11] == WALL
    assert kept[100, 100, 2] == ROAD


def test_lidar_mask_is_the_line_of_sight() -> None:
    mask = lidar_mask(np.array([0.2, 0.2, 0.4]), np.array([[10.2, 0.2, 0.4]]))
    x, y, z = np.nonzero(mask)
    assert set(y) == {voxel(0, 0.2, 0)[1]}
    assert set(z) == {voxel(0, 0, 0.4)[2]}
    assert x.tolist() == list(range(voxel(0.2, 0, 0)[0], voxel(10.2, 0, 0)[0] + 1))
