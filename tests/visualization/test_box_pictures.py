"""Surfaces, maps and pages of boxes by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.geometry.box_surface import CORNERS, SIDES, box_surface
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.models.cells import Cells
from projects.DistillNeRF.visualization import voxel_page
from projects.DistillNeRF.visualization.box_pictures import EYE_HEIGHT, INK, SHADES, BoxPictures, annotate_map
from projects.DistillNeRF.visualization.colors import SKY_COLOR
from projects.DistillNeRF.visualization.voxels import ColoredCells
from tests.helpers.cameras import pinhole


def box(*lower: tuple[float, float, float]) -> np.ndarray:
    """Corners ``(N, 8, 3)`` of unit cubes."""
    return np.array(lower, np.float32)[:, None] + np.array(CORNERS, np.float32)


def test_sides_face_outwards_and_are_named_by_their_axis():
    corners = np.array(CORNERS, float)[SIDES]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert normals.tolist() == [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]]


def test_a_surface_of_two_neighbors_and_a_box_apart():
    """The second box is right of the first: its side -x and the other's +x are left out."""
    mesh = box_surface(box((0, 0, 0), (1, 0, 0), (5, 5, 5)))
    sides = [(int(b), int(s)) for b, s in zip(mesh.quad_box, mesh.quad_side, strict=True)]
    assert sides == [(b, s) for b in range(3) for s in range(6) if (b, s) not in ((0, 1), (1, 0))]
    assert len(mesh.triangles) == 2 * len(mesh.quads) == 32
    # Every vertex belongs to the box of its quad, and every box has its own.
    assert (mesh.vertex_box[mesh.quads] == mesh.quad_box[:, None]).all()
    assert np.bincount(mesh.vertex_box).tolist() == [8, 8, 8]
    places = mesh.vertices[mesh.quads[0]]
    assert places.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]]
    assert mesh.triangles[:2].tolist() == [mesh.quads[0, [0, 1, 2]].tolist(), mesh.quads[0, [0, 2, 3]].tolist()]


COLOR = np.array([[200, 100, 50]], np.uint8)


@pytest.mark.parametrize(('direction', 'side'), [((0, 1, 0), 2), ((0, -1, 0), 3), ((1, 0, 0), 0), ((-1, 0, 0), 1)])
def test_every_side_has_its_own_shade(direction, side):
    """A camera 3 m before the cube around the origin, in any of the four directions."""
    forward = torch.tensor(direction, dtype=torch.float32)
    down = torch.tensor([0.0, 0, -1])
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([torch.linalg.cross(down, forward), down, forward], dim=1)
    pose[:3, 3] = -3 * forward
    cameras = Cameras(pinhole(3.0, (1, 1)), pose[None], 3, 3)
    picture = BoxPictures(box((-0.5, -0.5, -0.5)), COLOR).from_cameras(cameras, 3, 3)
    assert picture.shape == (1, 3, 3, 3)
    assert picture[0, 1, 1].tolist() == (COLOR[0] * SHADES[side]).round().astype(int).tolist()
    assert tuple(picture[0, 0, 0]) == SKY_COLOR


def test_tops_are_the_brightest_sides_and_maps_have_no_shade():
    assert SHADES.argmax() == 5 and SHADES[5] == 1 and SHADES[4] == SHADES.min()
    above = BoxPictures(box((1.2, 2.2, 0)), COLOR).from_above(4.0, 8)
    # Cells of a meter: x from 1.2 to 2.2 holds the middle 1.5, y from 2.2 to 3.2 the middle 2.5.
    found = np.argwhere((above != SKY_COLOR).any(-1)).tolist()
    assert found == [[1, 5]] and (above[1, 5] == COLOR[0]).all()
    hidden = BoxPictures(box((1.2, 2.2, EYE_HEIGHT + 0.1)), COLOR)
    assert (hidden.from_above(4.0, 8) == SKY_COLOR).all()
    assert (hidden.from_above(4.0, 8, eye_height=9.0) != SKY_COLOR).any()


def test_a_map_is_annotated_with_the_car_and_ten_meters():
    """100 m in 400 pixels: the car is 4.5 m long and 2 m wide, the bar 40 pixels."""
    plain = np.full((400, 400, 3), 7, np.uint8)
    drawn = annotate_map(plain, 50.0, 'a scene')
    assert (plain == 7).all() and (drawn[:24] != 7).all()
    dark = np.flatnonzero((drawn[12] == INK).all(-1))
    bar = dark[dark > 330]
    assert bar[0] == 340 and bar[-1] == 380
    rows, columns = np.nonzero((drawn[100:] != 7).any(-1))
    assert (rows.min() + 100, rows.max() + 100) == (190, 208) and (columns.min(), columns.max()) == (196, 204)


def cells(*lower: tuple[float, float, float]) -> ColoredCells:
    corners = torch.from_numpy(box(*lower))
    made = Cells(corners.mean(1), corners, torch.ones(len(lower)), torch.zeros(len(lower), 2))
    return ColoredCells('fine', made, np.array([[1, 2, 255], [16, 0, 10], [9, 9, 9]], np.uint8)[: len(lower)])


def test_the_nearest_cells_are_kept_in_their_order():
    centers = torch.tensor([[5.0, 0, 0], [0, 0, 1], [0, -3, 0], [9, 0, 0]])
    assert voxel_page._nearest(centers, 2).tolist() == [1, 2]
    assert voxel_page._nearest(centers, 3).tolist() == [0, 1, 2]
    assert voxel_page._nearest(centers, 9).tolist() == [0, 1, 2, 3]


def test_boxes_of_a_page_have_their_colors_and_the_first_level_is_shown():
    trace = voxel_page._boxes(cells((0, 0, 0), (5, 5, 5), (9, 9, 9)), np.array([0, 1]), shown=True, noun='cells')
    assert trace.visible is True and trace.name == 'fine cells (2)'
    assert list(trace.facecolor) == ['#0102ff'] * 12 + ['#10000a'] * 12
    vertices = np.stack([trace.x, trace.y, trace.z], 1)[np.stack([trace.i, trace.j, trace.k], 1)]
    assert vertices[:12].max() == 1 and vertices[12:].min() == 5
    assert voxel_page._boxes(cells((0, 0, 0)), np.array([0]), shown=False, noun='cells').visible == 'legendonly'


def test_the_pyramid_of_a_camera_has_the_four_corners_of_its_image():
    """A camera at (1, 2, 3) along +z of the world; edges of 1.5 m."""
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([1.0, 2, 3])
    camera = Cameras(pinhole(1.0, (2, 1))[0], pose, 3, 5)
    trace = voxel_page._pyramid(camera, 'FRONT')
    points = np.stack([trace.x, trace.y, trace.z], 1) - [1, 2, 3]
    assert trace.name == 'FRONT' and len(points) == 12
    lengths = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(lengths, [0, 1.5, 1.5] * 4, atol=1e-6)
    corners = {tuple(np.sign(point[:2]).astype(int)) for point in points[lengths > 0]}
    assert corners == {(-1, -1), (1, -1), (1, 1), (-1, 1)}
    # Round the image: no edge goes across it.
    for number in (1, 4, 7, 10):
        same = np.sign(points[number][:2]) == np.sign(points[number + 1][:2])
        assert same.sum() == 1
