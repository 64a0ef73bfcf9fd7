"""Errors of novel views by hand."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.engine.evaluate_novel_views import novel_view_errors
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.scene import Rendering


def test_colors_are_clamped_and_depth_is_compared_as_z():
    """Focal length 2 of an image of 8 x 9: rays are longer than z. The rendering has half the size."""
    intrinsics = torch.tensor([[[2.0, 0, 4], [0, 2, 3.5], [0, 0, 1]]])
    cameras = Cameras(intrinsics, torch.eye(4)[None], 8, 9)
    truth = torch.full((1, 8, 9), 20.0)
    truth[0, 0, 0] = math.nan
    true = Views(torch.ones(1, 3, 8, 9), cameras, ('A',), (0,), true_depth=truth)
    image = torch.full((1, 3, 8, 9), 1.7)
    rendering = Rendering(image, 25.0 * cameras.ray_lengths(4, 5), None, None, None)
    errors = novel_view_errors(rendering, true)
    assert errors['psnr'] == pytest.approx(100) and errors['ssim'] == pytest.approx(1)
    assert errors['abs_rel'] == pytest.approx(0.25, rel=1e-5) and errors['rmse'] == pytest.approx(5, rel=1e-5)
    dark = novel_view_errors(Rendering(image - 0.8, rendering.depth, None, None, None), true)
    assert dark['psnr'] == pytest.approx(20, abs=1e-4)
