"""Records that all converters write, by hand."""

from __future__ import annotations

import numpy as np

from projects.DistillNeRF.datasets.converters.common import camera_record, link_frames


def at(x: float, turned: bool = False) -> np.ndarray:
    pose = np.eye(4)
    if turned:
        pose[:2, :2] = [[0, -1], [1, 0]]
    pose[0, 3] = x
    return pose


def test_a_camera_record_has_all_fields():
    """Ego at x = 10 that heads to the left, camera at x = 12, LiDAR at x = 11."""
    record = camera_record('A', 'x/b.jpg', (60, 100), np.eye(3) * 2, at(12), at(11), at(10, turned=True), 3.5)
    assert (record['height'], record['width'], record['timestamp'], record['img_path']) == (60, 100, 3.5, 'x/b.jpg')
    assert record['cam2img'] == (np.eye(3) * 2).tolist() and record['cam2global'] == at(12).tolist()
    np.testing.assert_allclose(record['cam2ego'], [[0, 1, 0, 0], [-1, 0, 0, -2], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(record['lidar2cam'], at(-1))
    assert record['teacher'] == {
        'depth': 'samples_0_0_0_0_0_0/depths/A/b.npy',
        'sky_mask': 'samples_0_0_0_0_0_0/gt_sky_masks/A/b.npy',
    }
    assert record['features'] == 'A/b.npy'


def test_links_lead_to_the_frames_of_the_same_scene():
    infos = [
        {'scene': s, 'frame': f, 'token': f'{s}{f}'} for s, f in (('a', 0), ('a', 1), ('a', 3), ('b', 2), ('b', 1))
    ]
    link_frames(infos)
    assert [(info['prev'], info['next']) for info in infos] == [
        (None, 'a1'),
        ('a0', None),
        (None, None),
        ('b1', None),
        (None, 'b2'),
    ]
    link_frames(infos, 2)
    assert [(info['prev'], info['next']) for info in infos[:3]] == [(None, None), (None, 'a3'), ('a1', None)]
