"""PLY files of cells, read back by other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from plyfile import PlyData

from projects.DistillNeRF.geometry.box_surface import CORNERS
from projects.DistillNeRF.models.cells import Cells
from projects.DistillNeRF.models.ply import write_ply
from projects.DistillNeRF.utils.errors import InputError


def cubes(*lower: tuple[float, float, float]) -> Cells:
    """Unit cubes with these lowest corners."""
    corners = torch.tensor(lower, dtype=torch.float32)[:, None] + torch.tensor(CORNERS, dtype=torch.float32)
    count = len(lower)
    return Cells(corners.mean(1), corners, torch.ones(count), torch.zeros(count, 2))


RED_GREEN = np.array([[255, 0, 0], [0, 128, 0]], np.uint8)


def test_points_and_their_colors(tmp_path):
    write_ply(tmp_path / 'a.ply', cubes((1, 2, 3), (-4, 5, 6)), RED_GREEN, as_boxes=False)
    vertex = PlyData.read(tmp_path / 'a.ply')['vertex']
    assert np.stack([vertex[name] for name in 'xyz'], 1).tolist() == [[1.5, 2.5, 3.5], [-3.5, 5.5, 6.5]]
    assert np.stack([vertex[name] for name in ('red', 'green', 'blue')], 1).tolist() == RED_GREEN.tolist()


def test_boxes_are_closed_and_face_outwards(tmp_path):
    write_ply(tmp_path / 'a.ply', cubes((1, 2, 3), (-4, 5, 6)), RED_GREEN)
    mesh = trimesh.load(tmp_path / 'a.ply')
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(2)
    for part, color, center in zip(
        sorted(mesh.split(), key=lambda part: -part.bounds[0, 0]),
        RED_GREEN,
        ([1.5, 2.5, 3.5], [-3.5, 5.5, 6.5]),
        strict=True,
    ):
        assert part.center_mass == pytest.approx(center)
        assert (part.visual.vertex_colors[:, :3] == color).all()


def test_sides_between_two_boxes_are_left_out(tmp_path):
    write_ply(tmp_path / 'a.ply', cubes((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1)), np.zeros((4, 3), np.uint8))
    # Two pairs of neighbors; the fourth box touches the others along edges only.
    assert len(PlyData.read(tmp_path / 'a.ply')['face'].data) == 4 * 6 - 2 * 2
    mesh = trimesh.load(tmp_path / 'a.ply')
    assert mesh.area == pytest.approx(20)
    assert mesh.volume == pytest.approx(4)


def test_nothing_is_a_file_too(tmp_path):
    write_ply(tmp_path / 'a.ply', cubes((0, 0, 0))[torch.zeros(0, dtype=torch.long)], np.zeros((0, 3), np.uint8))
    assert len(PlyData.read(tmp_path / 'a.ply')['vertex'].data) == 0


@pytest.mark.parametrize('colors', [np.zeros((1, 3), np.uint8), np.zeros((2, 3)), np.zeros((2, 4), np.uint8)])
def test_wrong_colors(tmp_path, colors):
    with pytest.raises(ValueError, match=r'uint8 \(2, 3\)'):
        write_ply(tmp_path / 'a.ply', cubes((1, 2, 3), (-4, 5, 6)), colors)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot be written'):
        write_ply(tmp_path / 'file' / 'a.ply', cubes((1, 2, 3), (-4, 5, 6)), RED_GREEN)
