"""Panels, colors of depth and image files."""

from __future__ import annotations

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.visualization.colors import SKY_COLOR, UNKNOWN_COLOR, depth_to_colors
from projects.DistillNeRF.visualization.panel_layout import (
    FOOTER_HEIGHT,
    GAP,
    HEADER_HEIGHT,
    LABEL_WIDTH,
    PanelRow,
    compose,
    to_uint8,
    write_png,
)
from projects.DistillNeRF.visualization.panels import _draw_points, panel, panel_rows, ring_order
from projects.DistillNeRF.visualization.sample_pictures import _beside
from tests.helpers.cameras import level_cameras

HEIGHT, WIDTH = 12, 20
# Yaw clockwise from the front, degrees, in the order of nuScenes' infos.
RIG = {
    'CAM_FRONT': 0,
    'CAM_FRONT_RIGHT': 55,
    'CAM_FRONT_LEFT': -55,
    'CAM_BACK': 180,
    'CAM_BACK_LEFT': -110,
    'CAM_BACK_RIGHT': 110,
}
RING = ['CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_BACK_RIGHT', 'CAM_BACK', 'CAM_BACK_LEFT']


def rig_cameras(names: list[str]) -> Cameras:
    return level_cameras(tuple(RIG[name] for name in names), HEIGHT, WIDTH)


def make_views(frames: tuple[int, ...] = (0,), **known: torch.Tensor) -> Views:
    names = list(RIG) * len(frames)
    shades = torch.linspace(0.1, 0.9, len(RIG)).repeat(len(frames))
    images = shades[:, None, None, None].expand(-1, 3, HEIGHT, WIDTH)
    return Views(images, rig_cameras(names), tuple(names), tuple(f for f in frames for _ in RIG), **known)


def prediction(targets: Views) -> dict[str, torch.Tensor]:
    count = len(targets)
    return {'rgb': targets.images, 'depth': torch.full((count, 6, 10), 10.0), 'opacity': torch.ones(count, 6, 10)}


def test_cameras_are_in_ring_order():
    names = list(RIG)
    assert [names[i] for i in ring_order(rig_cameras(names))] == RING


def test_a_panel_has_the_images_in_ring_order():
    views = make_views()
    picture = panel(views, views, prediction(views))
    tile = WIDTH * 12
    shades = [picture[HEADER_HEIGHT + 5, LABEL_WIDTH + c * (tile + GAP) + tile // 2, 0] for c in range(len(RIG))]
    assert shades == [round((0.1 + 0.16 * list(RIG).index(name)) * 255) for name in RING]


def test_a_panel_shows_everything_that_is_known():
    def rows(inputs: Views, targets: Views, shown: dict) -> int:
        return round((panel(inputs, targets, shown).shape[0] - HEADER_HEIGHT) / (HEIGHT * 12 + GAP))

    plain = make_views()
    nothing_known = rows(plain, plain, prediction(plain))
    depth = torch.full((6, HEIGHT, WIDTH), 7.0)
    rich = make_views(
        lidar_depth=depth[:, ::2, ::2], teacher_depth=depth, sky_mask=torch.zeros_like(depth), true_depth=depth
    )
    assert rows(rich, rich, prediction(rich)) == nothing_known + 6
    shown = prediction(plain) | {'coarse_depth': depth, 'fine_depth': depth}
    assert rows(plain, plain, shown) == nothing_known + 2
    later = make_views((0, 1))
    assert rows(plain, later, prediction(later)) == nothing_known + 4


def test_a_panel_says_that_images_are_withheld_and_shows_novel_views():
    views = make_views()
    beside = {'beside': views.images.flip(0)}
    colors, features = SimpleNamespace(features=None), SimpleNamespace(features=(64, 32))
    for blend, label in ((None, 'rendered'), (features, 'rendered'), (colors, 'rendered from\nother images')):
        rows = panel_rows(views, views, prediction(views) | beside | {'scene_field': SimpleNamespace(blend=blend)})
        assert [row.label for row in rows][1:3] == [label, 'rendered 1 m\nto the right']
        assert np.array_equal(rows[2].tiles['CAM_FRONT'], to_uint8(views.images[5:])[0])
    later = make_views((0, 1))
    labels = [row.label for row in panel_rows(views, later, prediction(later) | beside)]
    assert labels.count('rendered 1 m\nto the right') == 1, 'of the current instant alone'


def test_a_view_from_beside_is_to_the_right_of_each_camera():
    cameras = rig_cameras(['CAM_FRONT', 'CAM_BACK', 'CAM_FRONT_RIGHT'])
    moved = _beside(cameras).cam2world[:, :3, 3] - cameras.cam2world[:, :3, 3]
    right = cameras.cam2world[:, :3, 0]
    assert torch.allclose(moved, right, atol=1e-5)
    assert moved[0, 0] > 0.99 and moved[1, 0] < -0.99, 'the right of the camera behind is the left of the car'


def test_z_is_drawn_as_distance():
    """The truth of a wall at one z has the color of the rendered distance of that wall."""
    rays = make_views().cameras.ray_lengths(HEIGHT, WIDTH)
    views = make_views(true_depth=torch.full((6, HEIGHT, WIDTH), 7.0))
    picture = panel(views, views, {'rgb': views.images, 'depth': 7.0 * rays})
    height = HEIGHT * 12
    # Rows: input, rendered, rendered depth, true depth, error of depth.
    rendered, true, error = (picture[HEADER_HEIGHT + r * (height + GAP) :][:height, LABEL_WIDTH:] for r in (2, 3, 4))
    assert np.array_equal(rendered, true)
    assert len(np.unique(error.reshape(-1, 3), axis=0)) == 2, 'no error, and the gaps between tiles'
    assert len(np.unique(rendered.reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize('name', ['lidar_depth', 'teacher_depth', 'true_depth'])
def test_errors_of_depth_are_differences_of_distance(name):
    """Rendered a share too far: what is missing grows with the distance; unknown pixels have no error."""
    rays = make_views().cameras.ray_lengths(6, 10)
    z = torch.full((6, 6, 10), 20.0)
    z[:, 3, 4] = math.nan
    views = make_views(**{name: z})
    scale = 240 // 10
    picture = panel(views, views, {'depth': 20.0 * rays * 1.2})
    # Rows: input, rendered depth, known depth, its error.
    row = HEADER_HEIGHT + 3 * (HEIGHT * 12 + GAP)
    tile = picture[row : row + HEIGHT * 12, LABEL_WIDTH : LABEL_WIDTH + WIDTH * 12][
        scale // 2 :: scale, scale // 2 :: scale
    ]
    inferno = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    expected = inferno[(20.0 * rays[0] * 0.2 / 10 * 255).clamp(max=255).round().int().numpy()]
    known = np.ones((6, 10), bool)
    known[3, 4] = False
    assert np.abs(tile[known].astype(int) - expected[known]).max() <= 4
    assert len(np.unique(tile[known], axis=0)) > 3
    assert (tile[3, 4] != inferno[0]).any()


def test_the_row_of_lidar_marks_the_sky():
    z = torch.full((6, 6, 10), math.nan)
    z[:, 1, 2] = 20.0
    sky = torch.zeros(6, 6, 10)
    sky[:, :2] = 1
    views = make_views(lidar_depth=z, sky_mask=sky)
    picture = panel(views, views, {'depth': torch.full((6, 6, 10), 20.0)})
    # Rows: input, rendered depth, LiDAR.
    row, scale = HEADER_HEIGHT + 2 * (HEIGHT * 12 + GAP), 240 // 10
    tile = picture[row : row + HEIGHT * 12, LABEL_WIDTH : LABEL_WIDTH + WIDTH * 12]
    middles = tile[scale // 2 :: scale, scale // 2 :: scale]
    marked = (middles == SKY_COLOR).all(-1)
    assert marked[:2].sum() == 19 and not marked[1, 2], 'a return is a return'
    assert not marked[2:].any()


def test_half_precision_and_odd_selections_can_be_drawn():
    views = make_views()
    shown = {key: value.half() for key, value in prediction(views).items()}
    unseen = views[[2, 0]]
    picture = panel(views[[0]], unseen, {key: value[:2] for key, value in shown.items()}, title='a')
    assert picture.dtype == np.uint8


def test_colors_of_depth():
    depth = np.array([[1.0, 2.0, 12.0, 80.0, 500.0, math.nan, math.nan]])
    sky = np.array([[False] * 6 + [True]])
    colors = depth_to_colors(depth, sky)[0]
    turbo = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    assert np.array_equal(colors[0], turbo[0])
    assert np.array_equal(colors[1], turbo[0])
    assert np.array_equal(colors[3], turbo[255])
    assert np.array_equal(colors[4], turbo[255])
    share = math.log(12 / 2) / math.log(80 / 2)
    assert np.array_equal(colors[2], turbo[round(share * 255)])
    assert tuple(colors[5]) == UNKNOWN_COLOR
    assert tuple(colors[6]) == SKY_COLOR


def test_missing_tiles_stay_empty():
    tile = np.zeros((4, 6, 3), np.uint8)
    picture = compose([PanelRow('a', {'x': tile})], ['x', 'y'], 40, 60)
    assert not picture[HEADER_HEIGHT : HEADER_HEIGHT + 40, LABEL_WIDTH : LABEL_WIDTH + 60].any()
    assert (picture[HEADER_HEIGHT : HEADER_HEIGHT + 40, LABEL_WIDTH + 60 + GAP :][:, :60] == 255).all()


def test_png_is_what_was_written(tmp_path):
    image = to_uint8(torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 0.5)
    write_png(tmp_path / 'a' / 'b.png', image)
    assert np.array_equal(np.array(Image.open(tmp_path / 'a' / 'b.png')), image)
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['b.png']


def test_a_failed_png_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_png(tmp_path / 'b.png', np.zeros((2, 2, 7), np.float64))
    assert not list(tmp_path.iterdir())


def test_columns_begin_at_the_left_side():
    """Clockwise from 100 degrees to the left of the front on."""
    cameras = rig_cameras(['CAM_FRONT'] * 4)
    for pose, degrees in zip(cameras.cam2world, (-99, -101, 0, 179), strict=True):
        yaw = math.radians(degrees)
        pose[:3, 2] = torch.tensor([math.sin(yaw), math.cos(yaw), 0])
    assert ring_order(cameras) == [0, 2, 3, 1]


def rows_of(views: Views, shown: dict, **options: bool) -> dict[str, dict[str, np.ndarray]]:
    return {row.label: row.tiles for row in panel_rows(make_views(), views, shown, **options)}


def test_errors_of_color_are_means_over_the_channels():
    """Half of the range is the end of the scale; colors are clamped before."""
    views = make_views()
    rgb = views.images.clone()
    rgb[0, 0] += 0.3
    rgb[1] = 9.0
    rows = rows_of(views, prediction(views) | {'rgb': rgb})
    inferno = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    assert rows['color\nerror']['CAM_FRONT'][3, 4].tolist() == inferno[round(0.1 / 0.5 * 255)].tolist()
    shade = views.images[1, 0, 0, 0].item()
    assert (
        rows['color\nerror']['CAM_FRONT_RIGHT'][3, 4].tolist()
        == inferno[min(255, round((1 - shade) / 0.5 * 255))].tolist()
    )
    assert rows['rendered']['CAM_FRONT_RIGHT'].min() == 255


def test_rays_that_hardly_stop_are_sky():
    views = make_views()
    opacity = torch.full((6, 6, 10), 0.51)
    opacity[0, 2, 3] = 0.49
    tile = rows_of(views, prediction(views) | {'opacity': opacity})['rendered\ndepth']['CAM_FRONT']
    assert np.argwhere((tile == SKY_COLOR).all(-1)).tolist() == [[2, 3]]


def test_rows_of_every_instant_have_their_own_pictures():
    """Current first, then the next, the previous, and others; each with its own rendering."""
    views = make_views((-1, 0, 1, 2))
    shown = prediction(views)
    shown['depth'] = torch.arange(24.0)[:, None, None].expand(-1, 6, 10) + 3
    rows = panel_rows(make_views(), views, shown)
    assert [row.label for row in rows] == [
        'input',
        *('rendered', 'rendered\ndepth', 'color\nerror'),
        *('next\ntrue image', 'next\nrendered', 'next\nrendered\ndepth', 'next\ncolor\nerror'),
        *('previous\ntrue image', 'previous\nrendered', 'previous\nrendered\ndepth', 'previous\ncolor\nerror'),
        *('frame +2\ntrue image', 'frame +2\nrendered', 'frame +2\nrendered\ndepth', 'frame +2\ncolor\nerror'),
    ]
    depths = {row.label: row.tiles['CAM_FRONT'][0, 0] for row in rows if row.label.endswith('depth')}
    for label, first in (('rendered\ndepth', 6), ('next\nrendered\ndepth', 12), ('previous\nrendered\ndepth', 0)):
        assert (depths[label] == depth_to_colors(np.array([[first + 3.0]]))[0, 0]).all()


@pytest.mark.parametrize(('depth_size', 'sky_size'), [((1, 1), (6, 10)), ((12, 20), (6, 10)), ((6, 10), (12, 20))])
def test_a_sky_mask_of_another_size_than_the_depth_is_drawn(depth_size, sky_size):
    """Masks alone come with a depth of one pixel, which is unknown: training stopped at its first picture."""
    sky = torch.zeros(6, *sky_size)
    sky[:, : sky_size[0] // 2] = 1
    views = make_views(teacher_depth=torch.full((6, *depth_size), torch.nan), sky_mask=sky)
    rows = rows_of(views, prediction(views))
    size = max(depth_size, sky_size)
    for label in ('teacher\ndepth', 'teacher\ndepth error'):
        tile = rows[label]['CAM_BACK']
        assert tile.shape == (*size, 3)
        shown = (tile == SKY_COLOR).all(-1)
        assert shown[: size[0] // 2].all() and not shown[size[0] // 2 :].any()


def test_features_of_every_instant_have_the_colors_of_the_current_one():
    views = make_views((1, 0))
    same = torch.randn(1, 5, 6, 10, generator=torch.Generator().manual_seed(0)).expand(12, -1, -1, -1).clone()
    same[:6] += 3  # of the next instant, brighter in all channels
    rows = rows_of(views, prediction(views) | {'features': same}, images=False)
    assert list(rows) == ['input', 'features', 'next\nfeatures']
    now, later = rows['features']['CAM_FRONT'], rows['next\nfeatures']['CAM_FRONT']
    assert now.shape == later.shape == (6, 10, 3)
    # In colors of its own, it would look the same.
    assert np.abs(now.astype(int) - later).mean() > 20


def test_depths_of_the_encoder_are_those_of_the_input_views():
    views = make_views((0, 1))
    coarse, fine = (torch.full((6, HEIGHT, WIDTH), meters) for meters in (4.0, 40.0))
    rows = rows_of(views, prediction(views) | {'coarse_depth': coarse, 'fine_depth': fine})
    for label, meters in (('coarse depth', 4.0), ('fine depth', 40.0)):
        assert (rows[label]['CAM_BACK'] == depth_to_colors(np.array([[meters]]))[0, 0]).all()
    assert len(rows) == 6 + 4


def test_points_are_drawn_as_squares_and_the_nearest_wins():
    """10 columns on a tile of 20 pixels: 2 pixels a cell, drawn 4 wide."""
    values = np.full((6, 10), np.nan, np.float32)
    values[2, 3], values[2, 4] = 30.0, 5.0
    background = np.full((12, 20, 3), 9, np.uint8)
    tile = _draw_points(values, background, depth_to_colors)
    near, far = (tuple(depth_to_colors(np.array([[d]]))[0, 0]) for d in (5.0, 30.0))
    drawn = {tuple(place): tuple(tile[tuple(place)]) for place in np.argwhere((tile != 9).any(-1)).tolist()}
    assert set(drawn.values()) == {near, far}
    columns = {color: sorted({c for (_, c), shown in drawn.items() if shown == color}) for color in (near, far)}
    assert len(columns[near]) == 4 and len(columns[far]) == 2, 'where squares overlap the nearer one is seen'
    assert max(columns[far]) < min(columns[near])


def test_a_canvas_has_its_tiles_where_rows_and_columns_cross():
    tiles = {name: np.full((2, 3, 3), shade, np.uint8) for name, shade in (('x', 10), ('y', 20))}
    other = {'x': np.full((2, 3, 3), 30, np.uint8)}
    picture = compose([PanelRow('a', tiles), PanelRow('b', other)], ['y', 'x'], 40, 60)
    assert picture.shape == (HEADER_HEIGHT + 2 * (40 + GAP) + FOOTER_HEIGHT, 900, 3)
    for row, column, shade in ((0, 0, 20), (0, 1, 10), (1, 1, 30), (1, 0, 255)):
        top, left = HEADER_HEIGHT + row * (40 + GAP), LABEL_WIDTH + column * (60 + GAP)
        assert (picture[top : top + 40, left : left + 60] == shade).all()
    wide = compose([PanelRow('a', tiles)], list('abcdefghijklmnop'), 40, 60)
    assert wide.shape[1] == LABEL_WIDTH + 16 * (60 + GAP) + 8


def test_the_footer_has_the_scales():
    picture = compose([], [], 40, 60)
    bar = picture[HEADER_HEIGHT + 8 + 2]
    turbo, inferno = (
        cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0, ::-1]
        for colormap in (cv2.COLORMAP_TURBO, cv2.COLORMAP_INFERNO)
    )
    assert (bar[LABEL_WIDTH] == turbo[0]).all() and (bar[LABEL_WIDTH + 299] == turbo[255]).all()
    assert (bar[LABEL_WIDTH + 300 + 24 + 10] == UNKNOWN_COLOR).all()
    assert (bar[LABEL_WIDTH + 300 + 24 + 66 + 10] == SKY_COLOR).all()
    begin = LABEL_WIDTH + 300 + 24 + 66 + 80
    assert (bar[begin] == inferno[0]).all() and (bar[begin + 199] == inferno[255]).all()
