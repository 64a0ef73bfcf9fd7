"""Strips and frames of novel views, put together from tiles that are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from projects.DistillNeRF.engine import novel_views
from projects.DistillNeRF.engine.novel_views import NovelViews
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.models.scene import Rendering
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.colors import depth_to_colors
from tests.helpers.cameras import unit_cameras


class Scene:
    """Shows in red where its cameras stand (x in tenths), at a depth of 10 m; remembers what it is asked."""

    def __init__(self, renders: str = 'rgb') -> None:
        self.head = SimpleNamespace(renders=renders)
        self.asked: list[tuple[list[float], set[str]]] = []

    def render(self, cameras: Cameras, outputs) -> Rendering:
        x = cameras.cam2world[:, 0, 3]
        self.asked.append((x.tolist(), set(outputs)))
        image = torch.zeros(len(cameras), 3, 4, 6)
        image[:, 0] = x[:, None, None] / 10
        features = torch.rand(len(cameras), 5, 2, 3, generator=torch.Generator().manual_seed(0))
        rgb = image if self.head.renders == 'rgb' else None
        return Rendering(torch.full((len(cameras), 2, 3), 10.0), None, rgb, features)


def cameras() -> Cameras:
    """Two of 4 x 6 pixels, at x = 1 and x = 2."""
    made = unit_cameras(2, 4, 6)
    made.cam2world[:, 0, 3] = torch.tensor([1.0, 2.0])
    return made


def test_a_picture_has_a_column_per_camera_and_rows_of_colors_and_depths():
    views = NovelViews(Scene(), cameras())
    (frame,) = views._frames(torch.eye(4, dtype=torch.float64)[None])
    assert frame.shape == (4 + 2 + 4, 6 + 2 + 6, 3) and frame.dtype == np.uint8
    assert (frame[:4, :6] == (26, 0, 0)).all() and (frame[:4, 8:] == (51, 0, 0)).all()
    depth = depth_to_colors(np.full((1, 1), 10.0))[0, 0]
    assert (frame[6:, :6] == depth).all() and (frame[6:, 8:] == depth).all()
    assert (frame[4:6] == 255).all() and (frame[:, 6:8] == 255).all()


def test_every_pose_moves_all_cameras():
    scene = Scene()
    motions = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    motions[1, 0, 3] = 5
    assert len(list(NovelViews(scene, cameras())._frames(motions))) == 2
    assert [x for x, _ in scene.asked] == [[1, 2], [6, 7]]
    assert all(what == {'rgb'} for _, what in scene.asked)


@pytest.mark.parametrize(('renders', 'features', 'rows'), [('rgb', False, 2), ('rgb', True, 3), ('features', False, 2)])
def test_features_are_a_row_where_they_are_asked_for_or_all_there_is(renders, features, rows):
    scene = Scene(renders)
    (frame,) = NovelViews(scene, cameras(), features)._frames(torch.eye(4)[None])
    assert frame.shape[0] == 4 * rows + 2 * (rows - 1)
    if rows == 3 or renders == 'features':
        # Colors are fitted to what is seen at first, once.
        assert scene.asked[0] == ([1, 2], {'features'}) and scene.asked[1][1] == {renders, 'features'}


def test_small_tiles_are_enlarged_without_new_values():
    tiles = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    joined = novel_views._join([tiles], 4)
    assert joined.shape == (4, 4, 3)
    assert (joined[:2, :2] == tiles[0, 0, 0]).all() and (joined[2:, :2] == tiles[0, 1, 0]).all()


def test_strips_are_three_poses_from_one_on(tmp_path):
    scene = Scene()
    paths = NovelViews(scene, cameras()).strips('left_right', 2, tmp_path)
    assert [path.name for path in paths] == [f'left_right_{i:03d}.png' for i in (2, 3, 4)]
    assert [x[0] for x, _ in scene.asked] == pytest.approx([1.2, 1.3, 1.4])
    assert all(path.is_file() for path in paths)
    assert len(NovelViews(scene, cameras()).strips('left_right', 51, tmp_path)) == 1
    for wrong in (-1, 52):
        with pytest.raises(InputError, match=f'pose {wrong}: trajectory left_right has poses 0 to 51'):
            NovelViews(scene, cameras()).strips('left_right', wrong, tmp_path)


def test_a_video_has_all_poses_at_its_speed(monkeypatch):
    calls: list[tuple] = []

    def write(path: Path, frames, fps: float, total: int) -> None:
        calls.append((path, len(list(frames)), fps, total))

    monkeypatch.setattr(novel_views, 'write_video', write)
    NovelViews(Scene(), cameras()).video('translation', Path('a.mp4'), fps=7)
    NovelViews(Scene(), cameras()).video('translation', Path('b.mp4'))
    assert calls == [(Path('a.mp4'), 3, 7, 3), (Path('b.mp4'), 3, 10, 3)]
