"""The sky in depth images; the published values are among the parity checks."""

from __future__ import annotations

import math

import torch

from projects.DistillNeRF.losses.depth import clamp_depth, fill_sky, resize_mask


def test_a_mask_is_resized_without_new_values():
    mask = torch.tensor([[[0, 10, 3, 10], [1, 10, 2, 10]]])
    assert resize_mask(mask, 1, 2).tolist() == [[[0, 3]]]


def test_unknown_outside_the_sky_stays_unknown():
    depth = torch.tensor([[[math.nan, math.nan, 7.0]]])
    sky = torch.tensor([[[True, False, True]]])
    filled = clamp_depth(fill_sky(depth, sky, 50.0, only_unknown=True), 1e-5, 50.0)
    torch.testing.assert_close(filled, torch.tensor([[[45.0, math.nan, 7.0]]]), equal_nan=True)


def test_the_sky_of_the_teacher_is_filled_whole_and_a_metre_of_margin_is_kept():
    """5 m before the far end, in every pixel of the mask or in those alone that are unknown."""
    depth = torch.tensor([[[3.0, math.nan], [9.0, math.nan]]])
    sky = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    whole = fill_sky(depth, sky, 50.0, only_unknown=False)
    torch.testing.assert_close(whole, torch.tensor([[[45.0, 45.0], [9.0, math.nan]]]), equal_nan=True)
    unknown = fill_sky(depth, sky, 50.0, only_unknown=True)
    torch.testing.assert_close(unknown, torch.tensor([[[3.0, 45.0], [9.0, math.nan]]]), equal_nan=True)
    assert depth[0, 0, 0] == 3, 'a new tensor'


def test_masks_of_another_size_are_resized():
    mask = torch.tensor([[[1.0, 0.0]]])
    filled = fill_sky(torch.ones(1, 2, 4), mask, 50.0, only_unknown=False)
    assert filled.tolist() == [[[45, 45, 1, 1]] * 2]


def test_depths_are_clamped_on_both_sides():
    clamped = clamp_depth(torch.tensor([-3.0, 0.5, 30.0, 46.0, math.nan]), 0.1, 50.0)
    torch.testing.assert_close(clamped, torch.tensor([0.1, 0.5, 30.0, 45.0, math.nan]), equal_nan=True)
