"""Voxel pictures of cells whose place and color are known."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData

from projects.DistillNeRF.models.cells import UNSEEN_COLOR, occupied_cells
from projects.DistillNeRF.models.scene import Rendering
from projects.DistillNeRF.semantics.feature_colors import palette
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization import voxel_page
from projects.DistillNeRF.visualization.box_pictures import BoxPictures
from projects.DistillNeRF.visualization.colors import SKY_COLOR, color_shares
from projects.DistillNeRF.visualization.voxel_pictures import VoxelPictures
from projects.DistillNeRF.visualization.voxels import ColoredCells, colored_cells
from tests.helpers.scenes import HEIGHT, WIDTH, front_and_back, numbered_cells

RED, GREEN, BLUE = (255, 0, 0), (0, 200, 0), (0, 0, 100)
# Left ahead and high, right ahead and low, right behind.
POINTS = torch.tensor([[-6.0, 14.0, 6.0], [6.0, 14.0, -6.0], [10.0, -14.0, 2.0]])


def boxes() -> BoxPictures:
    cells = occupied_cells(numbered_cells(POINTS))
    number = cells.features[:, 0].long() - 1
    return BoxPictures(cells.corners.numpy(), np.array([RED, GREEN, BLUE], np.uint8)[number])


def middle(picture: np.ndarray, channel: int) -> tuple[float, float]:
    """Mean row and column of the pixels of one primary color, as shares of the picture."""
    is_sky = (picture == SKY_COLOR).all(-1)
    found = ~is_sky & (picture.argmax(-1) == channel)
    assert found.any()
    rows, columns = found.nonzero()
    return float((rows.mean() + 0.5) / len(picture)), float((columns.mean() + 0.5) / picture.shape[1])


def test_cameras_see_cells_where_they_are():
    front, back = boxes().from_cameras(front_and_back().cameras, 2 * HEIGHT, 2 * WIDTH)
    row, column = middle(front, 0)
    assert row < 0.5 and column < 0.5  # red: up and left
    row, column = middle(front, 1)
    assert row > 0.5 and column > 0.5  # green: down and right
    assert not ((front[..., 2] > front[..., 0]) & (front != SKY_COLOR).any(-1)).any()
    # Blue is at the right of the car, which is the left of a camera that looks back.
    assert middle(back, 2)[1] < 0.5


def test_cells_project_to_the_pixels_of_the_camera():
    views = front_and_back()
    pixels, _ = views.cameras.project(POINTS)
    front = boxes().from_cameras(views.cameras, HEIGHT, WIDTH)[0]
    for number, channel in ((0, 0), (1, 1)):
        u, v = pixels[0, number].round().long().tolist()
        assert front[v, u].argmax() == channel


def test_from_above_forward_is_up_and_right_is_right():
    above = boxes().from_above(20.0, 400, eye_height=30.0)
    for channel, (x, y, _) in enumerate(POINTS.tolist()):
        row, column = middle(above, channel)
        assert column == pytest.approx(0.5 + x / 40, abs=0.04)
        assert row == pytest.approx(0.5 - y / 40, abs=0.04)
    shown = {tuple(color) for color in above.reshape(-1, 3).tolist()}
    assert shown == {RED, GREEN, BLUE, SKY_COLOR}
    # The left one lies higher than the eye.
    assert (boxes().from_above(20.0, 40, eye_height=3.0)[:, :20] == SKY_COLOR).all()


def test_the_nearer_box_hides_the_farther_one():
    cells = occupied_cells(numbered_cells(torch.tensor([[0.1, 30.0, 0.1], [0.1, 12.0, 0.1]])))
    order = cells.features[:, 0].argsort()
    drawn = BoxPictures(cells[order].corners.numpy(), np.array([RED, GREEN], np.uint8))
    picture = drawn.from_cameras(front_and_back().cameras[[0]], HEIGHT, WIDTH)[0]
    assert (picture[..., 0] <= SKY_COLOR[0]).all()
    assert middle(picture, 1)[1] == pytest.approx(0.55, abs=0.1)
    assert not ((picture[..., 0] > 0) & (picture[..., 2] == 0)).any()


def test_nothing_can_be_drawn_too():
    drawn = BoxPictures(np.zeros((0, 8, 3), np.float32), np.zeros((0, 3), np.uint8))
    assert (drawn.from_above(10.0, 8) == SKY_COLOR).all()
    assert (drawn.from_cameras(front_and_back().cameras, 4, 6) == SKY_COLOR).all()


def rendering_of(scene) -> Rendering:
    """Red to the left, green to the right; depths end inside the cells."""
    cameras = front_and_back().cameras
    seen = scene.render(cameras)
    image = torch.zeros(2, 3, HEIGHT, WIDTH)
    image[:, 0, :, : WIDTH // 2], image[:, 1, :, WIDTH // 2 :] = 1.0, 0.5
    return Rendering(seen.depth + 1.5, seen.opacity, rgb=image)


def test_cells_have_the_color_of_the_pixels_that_show_them():
    scene = numbered_cells(torch.cat([POINTS, torch.tensor([[0.1, 0.1, 30.0]])]))
    fine, coarse = colored_cells(scene, front_and_back().cameras, rendering_of(scene), None, 'rgb')
    number = fine.cells.features[:, 0].long().tolist()
    assert {n: tuple(c) for n, c in zip(number, fine.colors.tolist(), strict=True)} == {
        1: (255, 0, 0),
        2: (0, 128, 0),
        3: (255, 0, 0),
        4: UNSEEN_COLOR,
    }
    assert (fine.level, coarse.level) == ('fine', 'coarse')
    assert len(coarse.cells) == 0  # too thin


def test_cells_can_have_the_color_of_their_height():
    fine, _ = colored_cells(numbered_cells(POINTS), front_and_back().cameras, None, None, 'height')
    shares = (fine.cells.centers[:, 2].numpy() + 2.5) / 8.5
    assert np.array_equal(fine.colors, color_shares(shares))
    red_minus_blue = fine.colors[:, 0].astype(int) - fine.colors[:, 2]
    assert fine.cells.centers[red_minus_blue.argmax(), 2] == fine.cells.centers[:, 2].max()


@pytest.mark.parametrize(
    ('head', 'settings'), [('feature', {'out_channels': 6}), ('color', {'width': 32, 'num_layers': 2})]
)
def test_a_cell_has_the_color_of_the_features_that_it_renders(head, settings):
    scene, cameras = numbered_cells(POINTS, head, logit=9.0, **settings), front_and_back().cameras
    with torch.no_grad():
        features = scene.render(cameras, ('features',)).features
        colors = palette(features)
        fine, _ = colored_cells(scene, cameras, None, colors, 'features')
        seen = colors.colors(features.movedim(1, -1))
    pixels, _ = cameras.project(fine.cells.centers)
    number = fine.cells.features[:, 0].long() - 1
    for camera, point in ((0, 0), (0, 1), (1, 2)):
        row = int((number == point).nonzero())
        u, v = pixels[camera, row].round().long().tolist()
        assert np.abs(seen[camera, v, u].astype(int) - fine.colors[row]).max() <= 12
    assert len(np.unique(fine.colors, axis=0)) == 3


def test_colorings_that_cannot_be():
    arguments = (numbered_cells(POINTS), front_and_back().cameras, None, None)
    with pytest.raises(InputError, match='rgb, height, features'):
        colored_cells(*arguments, 'red')
    with pytest.raises(InputError, match='renders features; choose height'):
        colored_cells(*arguments, 'rgb')


def made() -> VoxelPictures:
    views = front_and_back()
    levels = colored_cells(numbered_cells(POINTS), views.cameras, None, None, 'height')
    return VoxelPictures('height', levels, views, inner_range=20.0)


def test_rows_have_a_tile_per_camera():
    fine, coarse = made().rows()
    assert (fine.label, coarse.label) == ('fine\nvoxels\nheight', 'coarse\nvoxels\nheight')
    assert list(fine.tiles) == ['FRONT', 'BACK']
    assert not np.array_equal(fine.tiles['FRONT'], fine.tiles['BACK'])
    assert (coarse.tiles['FRONT'] == SKY_COLOR).all()


def test_files(tmp_path):
    files = made().write(tmp_path, 'a scene')
    assert sorted(path.name for path in files) == sorted(path.name for path in tmp_path.iterdir())
    assert len(PlyData.read(tmp_path / 'fine_height.ply')['face'].data) == 3 * 6
    above = np.array(Image.open(tmp_path / 'fine_height_above.png'))
    assert above.shape == (1000, 1000, 3)
    # 20 m to each side: the second cell is 6 m to the right and 14 m ahead.
    assert tuple(above[500 - 14 * 25, 500 + 6 * 25]) != SKY_COLOR


def test_the_page_needs_no_network_and_holds_every_box(tmp_path):
    made().write(tmp_path, 'a scene')
    page = (tmp_path / 'height.html').read_text()
    assert not re.findall(r'<(?:script|link)[^>]+(?:src|href)=', page)
    assert 'Plotly.newPlot' in page
    assert '"fine cells (3)"' in page and '"coarse cells (0)"' in page
    colors = re.search(r'"facecolor":(\[[^\]]*\])', page).group(1)
    assert len(re.findall(r'#[0-9a-f]{6}', colors)) == 3 * 12
    assert '"FRONT"' in page


def test_a_page_of_too_many_cells_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(voxel_page, 'LARGEST_PAGE', 2)
    views = front_and_back()
    cells = occupied_cells(numbered_cells(POINTS * torch.tensor([[1.0], [2.5], [2.0]])))
    level = ColoredCells('fine', cells, np.array([RED, GREEN, BLUE], np.uint8)[cells.features[:, 0].long() - 1])
    left_out = voxel_page.write_page(tmp_path / 'a.html', [level], views.cameras, views.names, 'a scene')
    page = (tmp_path / 'a.html').read_text()
    assert left_out == 1
    assert 'a scene (the nearest 2 cells of a level; 1 farther ones are left out)' in page
    assert '#ff0000' in page and '#000064' in page and '#00c800' not in page
