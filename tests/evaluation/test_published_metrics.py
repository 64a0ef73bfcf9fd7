"""Metrics against the published values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.evaluation.depth import depth_errors, point_depth_errors
from projects.DistillNeRF.evaluation.image import psnr, recolored, ssim

ERRORS = ['abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'a1', 'a2', 'a3']


@pytest.fixture(scope='module')
def vectors(shared_dir) -> dict[str, np.ndarray]:
    with np.load(shared_dir / 'parity/public/unit.npz') as archive:
        return {key.removeprefix('metric/'): archive[key] for key in archive if key.startswith('metric/')}


@pytest.fixture(scope='module')
def published(vectors) -> dict[str, float]:
    return dict(zip(vectors['target_names'].tolist(), vectors['target_values'].tolist(), strict=True))


def tensor(vectors: dict[str, np.ndarray], name: str) -> torch.Tensor:
    return torch.from_numpy(vectors[name])[0]


def test_psnr_and_ssim(vectors, published):
    images = tensor(vectors, 'recon_img'), tensor(vectors, 'gt_img')
    assert psnr(*images) == pytest.approx(published['psnr'], abs=1e-5)
    assert ssim(*images) == pytest.approx(published['ssim'], abs=1e-6)


@pytest.mark.parametrize('limit', [80, 50])
def test_depth_errors_of_lidar(vectors, limit):
    errors = depth_errors(tensor(vectors, 'pred_depth'), tensor(vectors, 'gt_lidar'), limit)
    assert list(errors) == ERRORS
    assert list(errors.values()) == pytest.approx(vectors[f'depth_errors_max{limit}'].tolist(), rel=1e-6)


@pytest.mark.parametrize(('part', 'limit'), [('emernerf', 80), ('emernerf_inner', 50)])
def test_depth_errors_of_the_teacher(vectors, published, part, limit):
    errors = depth_errors(tensor(vectors, 'pred_depth'), tensor(vectors, 'gt_emernerf'), limit)
    assert errors == pytest.approx({name: published[f'target_{part}_{name}'] for name in ERRORS}, rel=1e-6)


def test_point_wise_errors(vectors):
    errors = point_depth_errors(
        tensor(vectors, 'sparse_pred')[:, 0],
        tensor(vectors, 'sparse_loc')[:, 0],
        tensor(vectors, 'sparse_depth')[:, 0],
        tensor(vectors, 'sparse_mask')[:, 0],
    )
    assert list(errors.values()) == pytest.approx(vectors['sparse_input_error'].tolist(), rel=1e-5)


@pytest.mark.parametrize('channels', [2, 3])
def test_recoloring(vectors, channels):
    result = recolored(tensor(vectors, 'recon_img'), tensor(vectors, 'gt_img'), channels)
    torch.testing.assert_close(result, tensor(vectors, f'recoloring_N{channels}'), rtol=1e-4, atol=1e-5)
