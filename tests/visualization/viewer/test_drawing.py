"""What stands in the browser's scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import viser

from projects.DistillNeRF.models.cells import occupied_cells
from projects.DistillNeRF.visualization.viewer.drawing import (
    BOXES,
    CELLS,
    CUBE,
    FRUSTA,
    FRUSTUM_DEPTH,
    NEAR_PLANE,
    POINTS,
    TRIANGLES,
    _frustum_scale,
    _linear,
    draw_cells,
    draw_frusta,
)
from projects.DistillNeRF.visualization.viewer.scenes import ViewerScene, ring
from projects.DistillNeRF.visualization.viewer.viewpoints import Viewpoint
from projects.DistillNeRF.visualization.voxels import ColoredCells
from tests.helpers.scenes import street


@pytest.fixture(scope='module')
def server() -> Iterator[viser.ViserServer]:
    server = viser.ViserServer(host='127.0.0.1', port=0, verbose=False)
    yield server
    server.stop()


@pytest.fixture(scope='module')
def viewed() -> ViewerScene:
    scene = street()
    cameras = ring(scene)
    images = np.random.default_rng(0).integers(0, 255, (6, cameras.height, cameras.width, 3), np.uint8)
    return ViewerScene('by hand', scene, cameras, tuple('abcdef'), images)


def test_the_cube_is_seen_from_outside():
    corners = CUBE[TRIANGLES]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normals * corners.mean(axis=1)).sum(axis=1) > 0).all()
    assert np.abs(normals).sum() / 2 == pytest.approx(6)


def test_frusta_stand_where_the_cameras_are(server, viewed):
    draw_frusta(server.scene, viewed)
    for index, name in enumerate(viewed.names):
        frustum = server.scene.get_handle_by_name(f'{FRUSTA}/{name}')
        pose = viewed.cameras.cam2world[index].double().numpy()
        np.testing.assert_allclose(viser.transforms.SO3(frustum.wxyz).as_matrix(), pose[:3, :3], atol=1e-6)
        np.testing.assert_allclose(frustum.position, pose[:3, 3], atol=1e-6)
        assert frustum.fov == pytest.approx(np.radians(45))
        # How long the browser draws it (CameraFrustumVariants.tsx): 1 over the cube root of its volume, times scale.
        y = np.tan(frustum.fov / 2)
        assert frustum.scale / np.cbrt(y * y * frustum.aspect / 3) == pytest.approx(FRUSTUM_DEPTH)
    # Behind the near plane, which itself is before the picture, 1 m ahead.
    assert FRUSTUM_DEPTH < NEAR_PLANE < 1


def test_without_images_there_are_no_frusta(server, viewed):
    draw_frusta(server.scene, viewed)
    nameless = ViewerScene('saved', viewed.scene, viewed.cameras, viewed.names, None)
    draw_frusta(server.scene, nameless)
    assert server.scene.get_handle_by_name(f'{FRUSTA}/a') is None


def test_cells_as_points_and_boxes(server, viewed):
    cells = occupied_cells(viewed.scene)[torch.arange(50)]
    colors = np.random.default_rng(0).integers(0, 255, (50, 3), np.uint8)
    colored = ColoredCells('fine', cells, colors)
    points = draw_cells(server.scene, colored, POINTS, True)
    np.testing.assert_allclose(points.points, cells.centers, atol=1e-5)
    np.testing.assert_array_equal(points.colors, colors)
    boxes = draw_cells(server.scene, colored, BOXES, False)
    assert not boxes.visible and server.scene.get_handle_by_name(CELLS) is boxes
    lower, upper = cells.corners.min(dim=1).values.numpy(), cells.corners.max(dim=1).values.numpy()
    np.testing.assert_allclose(boxes.batched_positions - boxes.batched_scales / 2, lower, atol=1e-4)
    np.testing.assert_allclose(boxes.batched_positions + boxes.batched_scales / 2, upper, atol=1e-4)
    assert (boxes.batched_colors <= colors).all() and boxes.batched_colors.max() > 200


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
