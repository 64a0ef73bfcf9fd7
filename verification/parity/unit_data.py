"""Losses, metrics, depth images and camera paths on stored inputs (docs/NETWORK.md#data)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.datasets.image_files import to_rgb
from projects.DistillNeRF.datasets.target_frames import Key, whole_frames
from projects.DistillNeRF.evaluation.depth import depth_errors, point_depth_errors
from projects.DistillNeRF.evaluation.image import psnr, ssim
from projects.DistillNeRF.evaluation.recoloring import recolored_as_published
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.trajectories import circle, left_right, move_cameras, three_from, translation
from projects.DistillNeRF.losses.density import line_of_sight_epsilon, line_of_sight_loss, opacity_loss, weight_entropy
from projects.DistillNeRF.losses.depth import clamp_depth, clamped_depth_loss, depth_loss, fill_sky, teacher_depth_loss
from projects.DistillNeRF.losses.image import l1
from projects.DistillNeRF.pipelines.lidar_depth import lidar_depth_image, project_lidar
from verification.parity.comparison import DEEP, EQUAL, ROUNDING, SHALLOW, Report
from verification.parity.units import Arrays
from verification.reference.depth_errors import plain_depth_errors

ERRORS = ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'a1', 'a2', 'a3')
SKY_CLASS, SKY_DEPTH = 10, 120.0

# Published name -> coefficient, loss, inputs (the first is what the gradient is taken of).
_DEPTH, _IMAGE, _WEIGHTS = ('depth_estimate', 'depth_gt'), ('img_est', 'img_gt'), ('weights',)
LOSSES: Mapping[str, tuple[float, Callable[..., Tensor], tuple[str, ...]]] = {
    'RGBL1Loss': (1.5, l1, _IMAGE),
    'DepthLoss': (3, lambda e, t: depth_loss(e, t, 80.0), _DEPTH),
    'DepthClampLoss': (10, lambda e, t: clamped_depth_loss(e, t, 1e-5, 80.0), _DEPTH),
    'MidasDepthClampLoss': (2, lambda e, t: clamped_depth_loss(e, t, 1e-5, 120.0), _DEPTH),
    'DepthAnythingDepthClampLoss': (2, lambda e, t: clamped_depth_loss(e, t, 1e-5, 120.0), _DEPTH),
    'EmernerfDepthClampLoss': (10, lambda e, t: teacher_depth_loss(e, t, 1e-5, 120.0, 50.0), _DEPTH),
    'NerfWeightEntropyLoss': (0.01, weight_entropy, _WEIGHTS),
    'OpacityLoss': (0.1, opacity_loss, _WEIGHTS),
    'MSELoss': (1.5, torch.nn.functional.mse_loss, _IMAGE),
    'BCEWithLogitsLoss': (1.5, torch.nn.functional.binary_cross_entropy_with_logits, _IMAGE),
}


def check_losses(unit: Arrays, report: Report) -> None:
    """Check ``loss/*``: values with their coefficients, and gradients."""
    for name, (coefficient, loss, inputs) in LOSSES.items():
        first, *others = [unit[f'loss/{key}'] for key in inputs]
        if name == 'BCEWithLogitsLoss':
            # Stored for estimates that are logits.
            first = 4 * first - 2
        _check_loss(unit, name, first, lambda x: coefficient * loss(x, *others), report)  # noqa: B023
    mids, target = unit['loss/los_t'], unit['loss/los_gt'][0]
    for epsilon in (6.0, 2.5):
        _check_loss(
            unit,
            f'LineOfSightLoss_eps{epsilon}',
            unit['loss/weights'],
            lambda x: 0.1 * line_of_sight_loss(x, mids, target, epsilon),  # noqa: B023
            report,
        )
    schedule = unit['loss/los_epsilon_schedule']
    ours = [line_of_sight_epsilon(int(iteration)) for iteration in schedule[:, 0]]
    ours = torch.tensor([math.nan if epsilon is None else epsilon for epsilon in ours])
    report.add('loss/los_epsilon_schedule', ours, schedule[:, 1], ROUNDING)


def _check_loss(unit: Arrays, name: str, first: Tensor, loss: Callable[[Tensor], Tensor], report: Report) -> None:
    leaf = first.clone().requires_grad_()
    value = loss(leaf)
    value.backward()
    expected = unit[f'loss/{name}_value']
    report.add(f'loss/{name}_value', value.reshape(expected.shape), expected, SHALLOW)
    # The published line-of-sight gradient is NaN at pixels without a return; ours is 0 there.
    gradient = unit[f'loss/{name}_grad'].nan_to_num(0.0)
    report.add(f'loss/{name}_grad', leaf.grad.reshape(gradient.shape), gradient, DEEP)


def check_metrics(unit: Arrays, report: Report) -> None:
    """Check ``metric/*``."""

    def load(name: str) -> Tensor:
        return unit[f'metric/{name}'][0]

    names = unit.names('metric/target_names')
    published = dict(zip(names, unit['metric/target_values'].tolist(), strict=True))
    images = load('recon_img'), load('gt_img')
    report.add('metric/psnr', psnr(*images), published['psnr'], ROUNDING)
    report.add('metric/ssim', ssim(*images), published['ssim'], ROUNDING)
    for limit in (80, 50):
        pair = load('pred_depth'), load('gt_lidar')
        expected = unit[f'metric/depth_errors_max{limit}'].float()
        _add_depth_errors(f'metric/depth_errors_max{limit}', pair, limit, expected, report)
    for part, limit in (('emernerf', 80), ('emernerf_inner', 50)):
        expected = torch.tensor([published[f'target_{part}_{name}'] for name in ERRORS])
        pair = load('pred_depth'), load('gt_emernerf')
        _add_depth_errors(f'metric/target_{part}', pair, limit, expected, report)
    sparse = [load(f'sparse_{name}')[:, 0] for name in ('pred', 'loc', 'depth', 'mask')]
    errors = point_depth_errors(*sparse)
    report.add('metric/sparse_input_error', _values(errors), unit['metric/sparse_input_error'].float(), SHALLOW)
    for channels in (2, 3):
        ours = recolored_as_published(*images, channels)
        report.add(f'metric/recoloring_N{channels}', ours, load(f'recoloring_N{channels}'), DEEP)


def _add_depth_errors(name: str, pair: tuple[Tensor, Tensor], limit: float, expected: Tensor, report: Report) -> None:
    errors = _values(depth_errors(*pair, limit))
    report.add(name, errors, expected, SHALLOW, twin=plain_depth_errors(*pair, limit))


def _values(errors: Mapping[str, float]) -> Tensor:
    return torch.tensor(list(errors.values()), dtype=torch.float64)


def check_lidar_images(unit: Arrays, report: Report) -> None:
    """Check ``lidar_a``, ``lidar_b`` and ``lidar_flip``, bit by bit."""
    for group in ('lidar_a', 'lidar_b', 'lidar_flip'):
        arrays = {name: unit[f'{group}/{name}'].numpy() for name in ('points', 'lidar2img', 'sizes_H_W_ih_iw_factor')}
        height, width, rows, columns, factor = arrays['sizes_H_W_ih_iw_factor'].tolist()
        found: dict[str, list[np.ndarray]] = {
            'lidar_depths': [],
            'lidar_loc2d': [],
            'lidar_mask': [],
            'gt_depth_img': [],
        }
        for lidar2img in arrays['lidar2img']:
            flip = group == 'lidar_flip'
            projection = project_lidar(arrays['points'], lidar2img, height, width, 80.0, flip=flip)
            found['lidar_depths'].append(projection.depth)
            found['lidar_loc2d'].append(projection.pixels / np.float32([width, height]))
            found['lidar_mask'].append(projection.visible)
            image = lidar_depth_image(projection, height, width, rows // factor, columns // factor)
            found['gt_depth_img'].append(image)
        for name, values in found.items():
            expected = unit[f'{group}/{name}']
            report.add(f'{group}/{name}', np.stack(values)[:, None].reshape(expected.shape), expected, EQUAL)


def check_sky(unit: Arrays, report: Report) -> None:
    """Check ``scene/sky_*``, the sky in depth maps; frames are time-major, the third of five is the current one."""
    cameras = len(unit['scene/sky_out_depths'][0])
    current = slice(2 * cameras, 3 * cameras)
    sky = unit['scene/sky_class_map'] == SKY_CLASS
    bounds = {'min_depth': 1e-5, 'max_depth': SKY_DEPTH}
    lidar = fill_sky(unit['scene/sky_in_lidar'][0, current, 0], sky, SKY_DEPTH, only_unknown=True)
    report.add('scene/sky_out_depths', clamp_depth(lidar, **bounds), unit['scene/sky_out_depths'][0, :, 0], EQUAL)
    mask = unit['scene/sky_in_mask'][0, current]
    teacher = fill_sky(unit['scene/sky_in_emernerf'][0, current], mask, SKY_DEPTH, only_unknown=False)
    expected = unit['scene/sky_out_emernerf_depth_img'][0]
    report.add('scene/sky_out_emernerf_depth_img', clamp_depth(teacher, **bounds), expected, EQUAL)


# Frames before the current one in the published lists of frames.
FRAMES_BEFORE = 2


def _entries(keys: Sequence[Key], cameras: int) -> Tensor:
    """Return the indices of (frame offset, camera) in a time-major list of frames."""
    return torch.tensor([(offset + FRAMES_BEFORE) * cameras + int(camera) for offset, camera in keys])


def check_selection(unit: Arrays, report: Report) -> None:
    """Check ``select/*``: the frames of the targets, and for each camera the same as indices of frames."""
    cameras = len(unit['select/default_idx'])
    names = [str(camera) for camera in range(cameras)]
    for name, offsets in (('default', ()), ('allprev', (-2, -1)), ('addnext', (1,))):
        entries = _entries(whole_frames(names, offsets), cameras)
        report.add(f'select/{name}_values', entries[None, :, None].float(), unit[f'select/{name}_values'], EQUAL)
        frames = (entries // cameras).view(-1, cameras).T
        report.add(f'select/{name}_idx', frames, unit[f'select/{name}_idx'], EQUAL)


def check_assembly(unit: Arrays, report: Report) -> None:
    """Check ``scene/out_*``: images and cameras of the current frame."""
    cameras = unit['scene/out_rots'].shape[1]
    now = _entries(whole_frames([str(camera) for camera in range(cameras)], ()), cameras)
    extrinsic, resize = unit['scene/extrinsic'][:, now], unit['scene/aug'][:, now]
    images = torch.from_numpy(to_rgb(unit['scene/imgs'][0, now].permute(0, 2, 3, 1).numpy()))
    found = {
        'rots': extrinsic[..., :3, :3],
        'trans': extrinsic[..., :3, 3],
        'intrins': unit['scene/intrinsic'][:, now],
        'post_rots': resize[..., :3, :3],
        'post_trans': resize[..., :3, 3],
        'imgs': images[None],
    }
    for name, value in found.items():
        report.add(f'scene/out_{name}', value, unit[f'scene/out_{name}'], EQUAL)


def check_novel_views(unit: Arrays, report: Report) -> None:
    """Check ``novel/*`` and the cameras of ``scene/novel_*``."""
    for axis in 'xyz':
        report.add(f'novel/translation_{axis}', translation(axis, start=2), unit[f'novel/translation_{axis}'], ROUNDING)
    report.add('novel/circle_all', circle(), unit['novel/circle_all'], ROUNDING)
    report.add('novel/left_right_all', left_right(), unit['novel/left_right_all'], ROUNDING)
    starts = ((circle(), (0, 47, 48, 49, 50)), (left_right(), (0, 49, 50, 51, 52)))
    lengths = torch.tensor([[len(three_from(path, index)) for index in indices] for path, indices in starts])
    report.add('novel/lengths_index0_and_last', lengths, unit['novel/lengths_index0_and_last'], EQUAL)
    rotations, positions = unit['scene/out_rots'][0], unit['scene/out_trans'][0]
    cam2world = torch.eye(4).repeat(len(rotations), 1, 1)
    cam2world[:, :3, :3], cam2world[:, :3, 3] = rotations, positions
    cameras = Cameras(unit['scene/out_intrins'][0], cam2world, 900, 1600)
    moved = move_cameras(cameras, unit['scene/novel_traj'], published_rotation=True)
    for name, values in (
        ('rots', moved.cam2world[:, :3, :3]),
        ('trans', moved.cam2world[:, :3, 3]),
        ('intrins', moved.intrinsics),
    ):
        expected = unit[f'scene/novel_out_target_{name}'][0]
        report.add(f'scene/novel_out_target_{name}', values, expected, ROUNDING)


DATA_CHECKS: tuple[Callable[[Arrays, Report], None], ...] = (
    check_losses,
    check_metrics,
    check_lidar_images,
    check_sky,
    check_selection,
    check_assembly,
    check_novel_views,
)
