"""Glances and where their cameras stand, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.engine.view import SavedScene, require_only
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.viewer.scenes import ViewerScene, ring
from tests.helpers.scenes import street


def test_the_ring_looks_everywhere_clockwise_from_the_front():
    """Six level cameras of 45 degrees and 28 rows of rays at the origin."""
    scene = street()
    cameras = ring(scene)
    forward = cameras.cam2world[:, :3, 2]
    angles = [np.radians(60 * i) for i in range(6)]
    expected = torch.tensor([[np.sin(a), np.cos(a), 0] for a in angles], dtype=torch.float32)
    torch.testing.assert_close(forward, expected, rtol=0, atol=1e-6)
    assert not cameras.cam2world[:, :3, 3].any()
    assert cameras.height == 28 * scene.downscale and cameras.width == round(28 * 16 / 9) * scene.downscale
    focal = cameras.intrinsics[0, 1, 1].item()
    assert 2 * np.arctan(cameras.height / 2 / focal) == pytest.approx(np.radians(45), rel=1e-6)


def test_the_front_is_the_camera_that_looks_most_to_the_front():
    scene = street()
    cameras = ring(scene)[[2, 3, 0, 5]]
    front = ViewerScene('by hand', scene, cameras, tuple('abcd'), None).front
    np.testing.assert_allclose(front.cam2world[:3, 2], (0, 1, 0), atol=1e-6)


def test_a_saved_scene_comes_without_images():
    source = SavedScene(street(), 'town')
    viewed = source.load(0)
    assert len(source) == 1 and viewed.title == 'town' and viewed.images is None
    assert viewed.names == tuple(f'{degrees} degrees' for degrees in (0, 60, 120, 180, 240, 300))
    for wrong in (1, -1):
        with pytest.raises(InputError, match=f'sample {wrong}: a saved scene is all there is'):
            source.load(wrong)
    require_only(0, 'it is')
