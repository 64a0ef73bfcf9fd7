"""The sky in depth images, against the published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from projects.DistillNeRF.losses.sky import clamp_depth, fill_sky, resize_mask

SKY_CLASS = 10


@pytest.fixture(scope='module')
def vectors(shared_dir) -> dict[str, torch.Tensor]:
    with np.load(shared_dir / 'parity/public/unit.npz') as archive:
        return {
            key.removeprefix('scene/sky_'): torch.from_numpy(archive[key])
            for key in archive
            if key.startswith('scene/sky_')
        }


# Frames are time-major, five of two cameras; the current frame is the third.
CURRENT = slice(4, 6)
SKY_DEPTH = 120.0
BOUNDS = {'min_depth': 1e-5, 'max_depth': SKY_DEPTH}


def test_lidar_images_are_filled_where_unknown(vectors):
    sky = vectors['class_map'] == SKY_CLASS
    depth = fill_sky(vectors['in_lidar'][0, CURRENT, 0], sky, SKY_DEPTH, only_unknown=True)
    expected = vectors['out_depths'][0, :, 0]
    torch.testing.assert_close(clamp_depth(depth, **BOUNDS), expected, equal_nan=True, rtol=0, atol=0)


def test_teacher_images_are_filled_in_the_whole_mask(vectors):
    depth = fill_sky(vectors['in_emernerf'][0, CURRENT], vectors['in_mask'][0, CURRENT], SKY_DEPTH, only_unknown=False)
    expected = vectors['out_emernerf_depth_img'][0]
    torch.testing.assert_close(clamp_depth(depth, **BOUNDS), expected, equal_nan=True, rtol=0, atol=0)


def test_a_mask_is_resized_without_new_values():
    mask = torch.tensor([[[0, 10, 3, 10], [1, 10, 2, 10]]])
    assert resize_mask(mask, 1, 2).tolist() == [[[0, 3]]]


def test_unknown_outside_the_sky_stays_unknown():
    depth = torch.tensor([[[math.nan, math.nan, 7.0]]])
    sky = torch.tensor([[[True, False, True]]])
    filled = clamp_depth(fill_sky(depth, sky, 50.0, only_unknown=True), 1e-5, 50.0)
    torch.testing.assert_close(filled, torch.tensor([[[45.0, math.nan, 7.0]]]), equal_nan=True)
