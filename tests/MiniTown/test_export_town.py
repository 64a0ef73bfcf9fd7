"""The export of the real town, made by two processes: does everything that it says about a key frame agree?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import BoxVisibility, points_in_box, view_points
from PIL import Image
from scipy.ndimage import map_coordinates

from projects.DistillNeRF.semantics.classes import CLASSES, OCC3D_ID
from projects.MiniTown.generate import VERSION, generate
from projects.MiniTown.occupancy import FREE, voxel_indices
from projects.MiniTown.rig import CAMERAS, Lidar, transform

HEIGHT, WIDTH = 56, 100


@pytest.fixture(scope='module')
def nusc(tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    root = tmp_path_factory.mktemp('real') / 'town'
    generate(root, scenes=2, seed=0, workers=2, keyframes=2, height=HEIGHT, width=WIDTH, samples=1)
    return NuScenes(version=VERSION, dataroot=str(root), verbose=False)


def truth(nusc: NuScenes, kind: str, image: dict) -> np.ndarray:
    """Return the truth of a kind about an image."""
    name = Path(image['filename'])
    file = Path(nusc.dataroot) / 'truth' / kind / name.parent.name / name.stem
    return np.load(f'{file}.npy').astype(float) if kind == 'depth' else np.array(Image.open(f'{file}.png'))


def test_lidar_agrees_with_the_depth_in_every_camera(nusc: NuScenes) -> None:
    for sample in nusc.sample:
        for camera in CAMERAS:
            image = nusc.get('sample_data', sample['data'][camera.name])
            points, depth, _ = nusc.explorer.map_pointcloud_to_image(sample['data']['LIDAR_TOP'], image['token'])
            found = truth(nusc, 'depth', image)
            inverse = np.where(np.isnan(found), 0.0, 1.0 / found)
            with np.errstate(divide='ignore'):
                error = np.abs(1.0 / map_coordinates(inverse, points[[1, 0]], order=1) - depth)
            assert len(error) > 100
            assert np.median(error) < 0.02


def test_objects_lie_in_their_boxes(nusc: NuScenes) -> None:
    pixels = inside = 0
    for sample in nusc.sample:
        scene = nusc.get('scene', sample['scene_token'])['name']
        tokens = json.loads((Path(nusc.dataroot) / 'records' / f'{scene}.json').read_text())['instances']
        for camera in CAMERAS:
            image = nusc.get('sample_data', sample['data'][camera.name])
            numbers = truth(nusc, 'instances', image)
            assert (np.isin(numbers, 0) | np.isin(truth(nusc, 'classes', image), movable())).all()
            _, boxes, intrinsic = nusc.get_sample_data(image['token'], BoxVisibility.NONE)
            for box in boxes:
                number = tokens.index(nusc.get('sample_annotation', box.token)['instance_token']) + 1
                line, column = np.nonzero(numbers == number)
                if len(line) == 0 or box.corners()[2].min() < 0.1:
                    continue
                corners = view_points(box.corners(), intrinsic, normalize=True)[:2]
                # The camera fires up to 43 ms before the boxes hold: give a pixel.
                low, high = corners.min(axis=1) - 1.0, corners.max(axis=1) + 1.0
                pixels += len(line)
                inside += ((column > low[0]) & (column < high[0]) & (line > low[1]) & (line < high[1])).sum()
    assert pixels > 500
    assert inside / pixels > 0.98


def movable() -> list[int]:
    """Return the classes of things that have boxes."""
    return [number for number, name in enumerate(CLASSES) if 1 <= OCC3D_ID[CLASSES.index(name)] <= 10]


def test_points_on_objects_are_counted(nusc: NuScenes) -> None:
    total = close = 0
    for sample in nusc.sample:
        token = sample['data']['LIDAR_TOP']
        path, boxes, _ = nusc.get_sample_data(token)
        cloud = np.fromfile(path, np.float32).reshape(-1, 5)
        assert cloud[:, 3].min() >= 0.0
        assert 20.0 < cloud[:, 3].max() <= 255.0
        assert set(np.unique(cloud[:, 4])) <= set(range(32))
        for box in boxes:
            expected = nusc.get('sample_annotation', box.token)['num_lidar_pts']
            found = points_in_box(box, cloud[:, :3].T.astype(float), wlh_factor=1.02).sum()
            total += 1
            close += abs(found - expected) <= max(2, 0.2 * expected)
    assert total > 20
    assert close / total > 0.95


def test_occupancy_agrees_with_pixels_and_points(nusc: NuScenes) -> None:
    for sample in nusc.sample:
        scene = nusc.get('scene', sample['scene_token'])['name']
        found = np.load(Path(nusc.dataroot) / 'gts' / scene / sample['token'] / 'labels.npz')
        semantics, seen = found['semantics'], found['mask_camera']
        front = nusc.get('sample_data', sample['data']['CAM_FRONT'])
        depth, classes = truth(nusc, 'depth', front), truth(nusc, 'classes', front)
        line, column = np.nonzero(np.nan_to_num(depth, nan=np.inf) < 25.0)
        intrinsic = CAMERAS[0].intrinsics(HEIGHT, WIDTH)
        rays = np.stack([column, line, np.ones_like(line)], axis=-1) @ np.linalg.inv(intrinsic).T
        in_ego = transform(CAMERAS[0].cam2ego, rays * depth[line, column][:, None])
        indices, inside = voxel_indices(in_ego)
        where = tuple(indices.T)
        named = semantics[where] == OCC3D_ID[classes[line, column][inside]]
        # The ego car has moved up to 0.3 m since the camera fired, and pixels lie on the edges of voxels.
        assert named.mean() > 0.9
        assert seen[where].mean() > 0.9

        cloud = np.fromfile(nusc.get_sample_data_path(sample['data']['LIDAR_TOP']), np.float32).reshape(-1, 5)
        points = transform(Lidar().lidar2ego, cloud[:, :3].astype(float))
        where = tuple(voxel_indices(points)[0].T)
        assert (semantics[where] != FREE).mean() > 0.95
        assert found['mask_lidar'][where].all()
