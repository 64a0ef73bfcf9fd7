"""Pieces of real data convert, load, and their LiDAR fits their pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.datasets.converters import pandaset
from tests.helpers.data import PANDASET
from tests.helpers.dataset import build_dataset
from tools.create_data import main


@pytest.fixture(scope='module')
def nuscenes_views(shared_dir, tmp_path_factory):
    """The views of the first nuScenes keyframe."""
    raw, out = shared_dir / 'data/nuscenes_frame', tmp_path_factory.mktemp('nuscenes_frame')
    source = next(raw.glob('*.pkl'))
    main(['nuscenes', '--root-path', str(raw), '--from-info', str(source), '--out-dir', str(out)])
    prefix = {'img': str(raw), 'lidar': str(raw)}
    sizes = {'image_size': (225, 400), 'render_size': (225, 400)}
    dataset = build_dataset(out, ann_file='nuscenes_infos_all.pkl', data_prefix=prefix, **sizes)
    return dataset[0]['inputs']['input_views']


@pytest.fixture(scope='module', params=PANDASET)
def pandaset_sample(request, tmp_path_factory):
    """PandaSet 002, a keyframe, with the next one, 0.5 s later, among the targets."""
    out, source = tmp_path_factory.mktemp('pandaset_002'), PANDASET[request.param]
    after = source.pair[1] + source.step
    pandaset.convert(source.root, out, train_frames=source.pair, val_frames=(after, after), step=source.step)
    return build_dataset(
        out,
        ann_file='pandaset_infos_train.pkl',
        data_prefix={'img': str(source.root)},
        image_size=(270, 480),
        render_size=(270, 480),
        test_mode=True,
        add_next_frame_for_eval=True,
    )[0]


def edge_agreement(views, rows: float, shift: int = 0) -> float:
    """Mean image gradient across a jump of depth over that across no jump, in the upper ``rows`` of all views.

    ``shift`` moves the depth sideways by pixels, as a wrong calibration would.
    """
    jump_edges, other_edges = [], []
    for image, depth in zip(views.images, views.lidar_depth, strict=True):
        gray = image.mean(0)
        gradient = (gray[:, 2:] - gray[:, :-2]).abs()
        depth = torch.roll(depth, shift, dims=1)
        left, right = depth[:, :-2], depth[:, 2:]
        both = torch.isfinite(left) & torch.isfinite(right)
        both[int(rows * len(both)) :] = False
        jump = both & ((left - right).abs() > 0.15 * torch.minimum(left, right))
        jump_edges.append(gradient[jump])
        other_edges.append(gradient[both & ~jump])
    return float(torch.cat(jump_edges).mean() / torch.cat(other_edges).mean())


def test_nuscenes_depth_jumps_lie_on_image_edges(nuscenes_views):
    aligned = edge_agreement(nuscenes_views, 1.0)
    assert aligned > 1.3
    assert aligned > max(edge_agreement(nuscenes_views, 1.0, shift) for shift in (-12, 12))


def test_pandaset_depth_jumps_lie_on_image_edges_in_both_frames(pandaset_sample):
    views = pandaset_sample['inputs']['target_views']
    assert views.frames == (1,) * 6 + (0,) * 6
    for block in (slice(0, 6), slice(6, 12)):
        aligned = edge_agreement(views[block], 1.0)
        assert aligned > 1.3
        assert aligned > max(edge_agreement(views[block], 1.0, shift) for shift in (-12, 12))


def test_pandaset_world_is_x_right_y_forward_z_up(pandaset_sample):
    views = pandaset_sample['inputs']['input_views']
    forward = dict(zip(views.names, views.cameras.cam2world[:, :3, 2], strict=True))
    position = dict(zip(views.names, views.cameras.cam2world[:, :3, 3], strict=True))
    assert forward['front_camera'][1] > 0.99 and forward['back_camera'][1] < -0.99
    assert forward['left_camera'][0] < -0.99 and forward['right_camera'][0] > 0.99
    assert position['left_camera'][0] < -0.4 < 0.4 < position['right_camera'][0]
    assert (views.cameras.cam2world[:, 2, 1] < -0.99).all(), 'image rows point down'
    # The road below the front camera: about 1.84 m under the origin.
    front = views.names.index('front_camera')
    z = views.lidar_depth[front]
    origin, directions = views.cameras[front].rays(270, 480)
    points = origin + directions * (z * views.cameras[front].ray_lengths(270, 480))[..., None]
    road = points[240:][torch.isfinite(z[240:])][:, 2]
    assert abs(np.median(road) + 1.84) < 0.25
