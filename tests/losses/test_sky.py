"""The sky in depth images; the published values are among the parity checks."""

from __future__ import annotations

import math

import torch

from projects.DistillNeRF.losses.sky import clamp_depth, fill_sky, resize_mask


def test_a_mask_is_resized_without_new_values():
    mask = torch.tensor([[[0, 10, 3, 10], [1, 10, 2, 10]]])
    assert resize_mask(mask, 1, 2).tolist() == [[[0, 3]]]


def test_unknown_outside_the_sky_stays_unknown():
    depth = torch.tensor([[[math.nan, math.nan, 7.0]]])
    sky = torch.tensor([[[True, False, True]]])
    filled = clamp_depth(fill_sky(depth, sky, 50.0, only_unknown=True), 1e-5, 50.0)
    torch.testing.assert_close(filled, torch.tensor([[[45.0, math.nan, 7.0]]]), equal_nan=True)
