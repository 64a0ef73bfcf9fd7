"""Where a browser looks from, against geometry worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.visualization.viewer.viewpoints import Viewpoint, look_from

HALF = math.sqrt(0.5)
# viser's rotation (w, x, y, z) of a camera that looks along +y of the world, z up: -90 degrees about x.
FORWARD = (HALF, -HALF, 0, 0)
# Along +x, z up: the one before turned by -90 degrees about z.
RIGHT = (0.5, -0.5, 0.5, -0.5)


def browser(wxyz=FORWARD, position=(0.0, 0.0, 0.0), fov=math.pi / 2, aspect=16 / 9) -> SimpleNamespace:
    return SimpleNamespace(wxyz=np.array(wxyz), position=np.array(position), fov=fov, aspect=aspect)


def camera(rows: int = 90, **where) -> Cameras:
    return Viewpoint.of_browser(browser(**where)).cameras(rows, 2, torch.zeros((), dtype=torch.float64))


def pixel(cameras: Cameras, *point: float) -> tuple[float, float, float]:
    pixels, z = cameras.project(torch.tensor([point], dtype=torch.float64))
    return (*pixels[0, 0].tolist(), float(z[0, 0]))


def test_what_is_right_and_above_lands_right_and_above():
    view = camera()
    assert (view.height, view.width) == (180, 320)
    middle = ((320 - 1) / 2, (180 - 1) / 2)
    assert pixel(view, 0, 10, 0) == pytest.approx((*middle, 10))
    u, v, _ = pixel(view, 1, 10, 0)
    assert u > middle[0] + 5 and v == pytest.approx(middle[1])
    u, v, _ = pixel(view, 0, 10, 1)
    assert v < middle[1] - 5 and u == pytest.approx(middle[0])
    assert pixel(view, 0, -10, 0)[2] < 0


def test_a_camera_that_looks_along_x_sees_the_front_on_its_left():
    view = camera(wxyz=RIGHT, position=(1.0, 2.0, 3.0))
    assert pixel(view, 11, 2, 3) == pytest.approx((159.5, 89.5, 10))
    assert pixel(view, 11, 3, 3)[0] < 159


@pytest.mark.parametrize('aspect', [16 / 9, 1.0, 1.777, 0.6])
def test_the_field_of_view_is_vertical_and_fills_the_window(aspect):
    view = camera(aspect=aspect, fov=math.pi / 3)
    top, side = 10 * math.tan(math.pi / 6), 10 * math.tan(math.pi / 6) * aspect
    # The outer edges of the image: half a pixel beyond the centers of its first and last pixels.
    assert pixel(view, 0, 10, top)[1] == pytest.approx(-0.5)
    assert pixel(view, 0, 10, -top)[1] == pytest.approx(view.height - 0.5)
    assert pixel(view, -side, 10, 0)[0] == pytest.approx(-0.5)
    assert pixel(view, side, 10, 0)[0] == pytest.approx(view.width - 0.5)


def test_sizes_are_whole_at_any_downscale_and_aspect():
    for aspect in (1.7, 0.01, 100.0):
        view = Viewpoint(np.eye(4), 1.0, aspect).cameras(22, 4, torch.zeros(()))
        assert view.height == 88 and view.width % 4 == 0 and 0 < view.width <= 4 * 88
        assert view.intrinsics.dtype == torch.float32


def test_a_viewpoint_of_a_camera_is_that_camera():
    truth = camera(fov=1.1, wxyz=RIGHT, position=(4.0, 5.0, 6.0))
    view = Viewpoint.of_cameras(truth, 0)
    assert (view.fov, view.aspect) == pytest.approx((1.1, 320 / 180))
    np.testing.assert_allclose(view.cam2world, truth.cam2world[0], atol=1e-12)
    np.testing.assert_allclose(np.abs(view.wxyz), np.abs(RIGHT), atol=1e-12)
    np.testing.assert_allclose(view.look_at, (9, 5, 6), atol=1e-12)


def test_looking_is_level():
    view = look_from((1, 2, 3), (1, 12, -7), 1.0)
    right, down, forward = view.cam2world[:3, :3].T
    np.testing.assert_allclose(right, (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(forward, (0, HALF, -HALF), atol=1e-12)
    np.testing.assert_allclose(down, (0, -HALF, -HALF), atol=1e-12)


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
