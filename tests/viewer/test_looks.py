"""Sources of glances, paths of cameras and colors of boxes, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from projects.DistillNeRF.errors import InputError
from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.viewer.drawing import _frustum_scale, _linear
from projects.DistillNeRF.viewer.glances import Glance, SavedScene, require_only, ring
from projects.DistillNeRF.viewer.painter import DEPTH, FEATURES, MODES, NEEDS, RGB, TEXT, _relief
from projects.DistillNeRF.viewer.player import Player
from projects.DistillNeRF.viewer.viewpoints import Viewpoint, looking
from tests.viewer.scenes import make_scene


def test_the_ring_looks_everywhere_clockwise_from_the_front():
    """Six level cameras of 45 degrees and 28 rows of rays at the origin."""
    scene = make_scene()
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
    scene = make_scene()
    cameras = ring(scene)[[2, 3, 0, 5]]
    front = Glance('by hand', scene, cameras, tuple('abcd'), None).front
    np.testing.assert_allclose(front.cam2world[:3, 2], (0, 1, 0), atol=1e-6)


def test_a_saved_scene_is_a_glance_without_images(tmp_path):
    make_scene().save(tmp_path / 'town.pt')
    source = SavedScene(tmp_path / 'town.pt')
    glance = source.load(0)
    assert len(source) == 1 and glance.title == 'town' and glance.images is None
    assert glance.names == tuple(f'{degrees} degrees' for degrees in (0, 60, 120, 180, 240, 300))
    for wrong in (1, -1):
        with pytest.raises(InputError, match=f'sample {wrong}: a saved scene is all there is'):
            source.load(wrong)
    require_only(0, 'it is')


def test_frusta_are_as_long_as_they_shall_be():
    """The browser draws a frustum 1 / cbrt(tan^2(fov / 2) * aspect / 3) long at scale 1."""
    view = Viewpoint(np.eye(4), np.pi / 2, 3.0)
    assert _frustum_scale(view) == pytest.approx(0.8)
    assert _frustum_scale(Viewpoint(np.eye(4), np.pi / 2, 24.0)) == pytest.approx(1.6)


def test_colors_of_boxes_are_linear():
    """sRGB: 188 is half as bright as 255; below 11 it is linear."""
    assert _linear(np.array([[0, 188, 255]], np.uint8)).tolist() == [[0, 128, 255]]
    assert _linear(np.array([[10]], np.uint8)).tolist() == [[round(10 / 12.92)]]
    assert _linear(np.array([[64]], np.uint8)).tolist() == [[13]]


def test_what_has_to_be_rendered_for_a_way_to_look():
    assert NEEDS == {RGB: 'rgb', DEPTH: 'depth', FEATURES: 'features', TEXT: 'features'} and set(NEEDS) == set(MODES)


def test_relief_is_bright_where_things_are_near():
    depth = np.array([[1.0, 2.0, np.sqrt(160), 80.0, 500.0, 2.0]])
    sky = np.array([[False] * 5 + [True]])
    relief = _relief(depth, sky)
    assert relief.shape == (1, 6, 3) and (relief == relief[..., :1]).all()
    assert relief[0, :, 0].tolist() == [255, 255, 127, 0, 0, 0]


def test_a_player_goes_round_and_begins_where_the_camera_is():
    player = Player('translation')
    assert len(player) == 3 and player.index == 0
    pose = looking((1, 2, 3), (1, 3, 3), 1.0).cam2world
    player.start(pose)
    assert [player.step()[0, 3] for _ in range(4)] == pytest.approx([2, 3, 1, 2])
    # Stopped at the second motion: started elsewhere, that motion is where the camera is.
    player.start(np.eye(4))
    assert [player.step()[0, 3] for _ in range(2)] == pytest.approx([1, -1])


def test_windows_beyond_the_largest_aspect_are_drawn_at_it():
    view = Viewpoint(np.eye(4), 1.0, 9.0).cameras(10, 2, torch.zeros(()))
    assert (view.height, view.width) == (20, 80)
    view = Viewpoint(np.eye(4), 1.0, 0.01).cameras(10, 2, torch.zeros(()))
    assert (view.height, view.width) == (20, 4)


def test_a_viewpoint_is_that_of_the_camera_asked_for():
    intrinsics = torch.tensor([[[10.0, 0, 5], [0, 30, 4], [0, 0, 1]], [[50, 0, 5], [0, 4, 4], [0, 0, 1]]])
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, :3, 3] = torch.tensor([1.0, 2, 3])
    view = Viewpoint.of_cameras(Cameras(intrinsics, poses, 8, 10), 1)
    # The vertical focal length and height count.
    assert view.fov == pytest.approx(np.pi / 2) and view.aspect == 1.25
    assert view.position.tolist() == [1, 2, 3] and view.look_at.tolist() == [1, 2, 8]
    browser = SimpleNamespace(wxyz=(1, 0, 0, 0), position=(4.0, 5, 6), fov=0.5, aspect=2.0)
    seen = Viewpoint.of_browser(browser)
    assert seen.cam2world.tolist() == [[1, 0, 0, 4], [0, 1, 0, 5], [0, 0, 1, 6], [0, 0, 0, 1]]
    assert (seen.fov, seen.aspect) == (0.5, 2.0)
