"""LiDAR points of several sweeps in one view, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.pipelines.lidar import LoadLidarDepth, read_point_classes, read_points
from projects.DistillNeRF.semantics.classes import UNKNOWN_CLASS
from projects.DistillNeRF.utils.errors import InputError

# A camera that looks along +y of the world, x to the right; 20 x 30 pixels, one pixel is a tenth of the depth.
CAM2WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
MATRIX = np.array([[10.0, 0, 10], [0, 10, 10], [0, 0, 1]])


def write(path: Path, *points: tuple[float, ...]) -> str:
    np.array(points, np.float32).tofile(path)
    return str(path)


def shift(x: float, y: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, 3] = x, y
    return pose


def view(*sweeps: dict) -> dict:
    return {'height': 20, 'width': 30, 'intrinsics': MATRIX, 'cam2world': CAM2WORLD, 'lidar': list(sweeps) or None}


def load(*views: dict, with_classes: bool = False, lidar_range: float = 80.0) -> list[dict]:
    results = {'views': dict(enumerate(views)), 'render_size': (10, 15), 'lidar_range': lidar_range}
    return list(LoadLidarDepth(with_classes).transform(results)['views'].values())


def known(image: np.ndarray) -> dict[tuple[int, int], float]:
    """Cells that are known."""
    return {tuple(place): float(image[tuple(place)]) for place in np.argwhere(np.isfinite(image)).tolist()}


def test_points_go_through_the_pose_of_their_sweep_and_the_nearest_counts(tmp_path):
    """The second sweep stands 2 m farther on and 1 m to the right."""
    own = write(tmp_path / 'own.bin', (0, 10, 0, 7), (-4, 10, 2, 7), (15, 10, 0, 7), (0, 10, -11, 7))
    other = write(tmp_path / 'other.bin', (-1, 3, 0, 7), (1, 8, 0, 7))
    sweeps = [
        {'path': own, 'columns': 4, 'lidar2world': np.eye(4), 'classes': None},
        {'path': other, 'columns': 4, 'lidar2world': shift(1, 2), 'classes': None},
    ]
    alone, both = load(view(sweeps[0]), view(*sweeps))
    # (0, 10, 0) is pixel (10, 10), (-4, 10, 2) is (6, 8), (15, 10, 0) is (25, 10), (2, 10, 0) is (12, 10).
    assert known(alone['lidar_depth']) == {(5, 5): 10, (4, 3): 10, (5, 12): 10}
    assert known(both['lidar_depth']) == {(5, 5): 5, (4, 3): 10, (5, 6): 10, (5, 12): 10}
    assert 'lidar_classes' not in both


def test_a_frame_without_lidar_is_unknown_and_a_dataset_without_it_is_left_alone():
    without, other = load(view(), {'img_path': 'x'})
    assert without['lidar_depth'].shape == (10, 15) and np.isnan(without['lidar_depth']).all()
    assert 'lidar_depth' not in other
    (classes,) = load(view(), with_classes=True)
    assert (classes['lidar_classes'] == UNKNOWN_CLASS).all()


def test_points_at_the_range_or_beyond_are_left_out(tmp_path):
    path = write(tmp_path / 'a.bin', (0, 29.9, 0, 7), (3, 30, 0, 7))
    (seen,) = load(view({'path': path, 'columns': 4, 'lidar2world': np.eye(4)}), lidar_range=30.0)
    assert known(seen['lidar_depth']) == {(5, 5): pytest.approx(29.9)}


def test_classes_are_those_of_the_points_that_are_shown(tmp_path):
    sweeps = []
    for number, depth in enumerate((9, 5, 7)):
        points = write(tmp_path / f'{number}.bin', (0, depth, 0, 0), (-depth / 2, depth, 0, 0))
        np.array([number, UNKNOWN_CLASS], np.uint8).tofile(tmp_path / f'{number}.classes')
        classes = str(tmp_path / f'{number}.classes')
        sweeps.append({'path': points, 'columns': 4, 'lidar2world': np.eye(4), 'classes': classes})
    (seen,) = load(view(*sweeps), with_classes=True)
    assert seen['lidar_depth'][5, 5] == 5 and seen['lidar_classes'][5, 5] == 1
    assert seen['lidar_depth'][5, 2] == 5 and seen['lidar_classes'][5, 2] == UNKNOWN_CLASS
    assert (seen['lidar_classes'] != UNKNOWN_CLASS).sum() == 1


def test_points_have_as_many_columns_as_the_record_says(tmp_path):
    path = write(tmp_path / 'a.bin', (1, 2, 3, 4, np.nan), (5, 6, 7, 8, 9))
    assert read_points(path, 5)[:, :3].tolist() == [[1, 2, 3], [5, 6, 7]]
    with pytest.raises(InputError, match='40 bytes are no whole number of points of 4 floats'):
        read_points(path, 4)
    with pytest.raises(InputError, match='NaN or infinite'):
        read_points(write(tmp_path / 'b.bin', (1, 2, np.inf)), 3)


def test_classes_must_be_as_many_as_points_and_known(tmp_path):
    path = tmp_path / 'a.classes'
    np.array([0, 14, 255], np.uint8).tofile(path)
    assert read_point_classes(path, 3, 'a.bin').tolist() == [0, 14, 255]
    with pytest.raises(InputError, match='holds 3 classes for 4 points'):
        read_point_classes(path, 4, 'a.bin')
    with pytest.raises(InputError, match=r'a\.bin: the info file names no classes'):
        read_point_classes(None, 3, 'a.bin')
    np.array([15], np.uint8).tofile(path)
    with pytest.raises(InputError, match='ids beyond the 15 classes'):
        read_point_classes(path, 1, 'a.bin')
