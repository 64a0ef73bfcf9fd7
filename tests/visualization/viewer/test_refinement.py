"""Pictures that become finer, step by step."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch

from projects.DistillNeRF.models.scene import Scene, SceneRenderer
from projects.DistillNeRF.modules.source_blend import SourceBlend
from projects.DistillNeRF.modules.source_views import Sources
from projects.DistillNeRF.visualization.colors import depth_to_colors
from projects.DistillNeRF.visualization.panel_layout import to_uint8
from projects.DistillNeRF.visualization.viewer.colorizer import DEPTH, FEATURES, RGB
from projects.DistillNeRF.visualization.viewer.scenes import ViewerScene, ring
from projects.DistillNeRF.visualization.viewer.session import RAYS_PER_TILE, ROWS, RenderSession
from projects.DistillNeRF.visualization.viewer.viewpoints import Viewpoint, look_from
from tests.helpers.scenes import WALL, street

VIEW = look_from((0.0, 0.0, 0.0), (0.1, 1.0, -0.05), 0.8)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope='module', params=['color', 'feature'])
def scene(request) -> Scene:
    return street(request.param)


@pytest.fixture(scope='module')
def session() -> RenderSession:
    scene = street()
    return RenderSession(ViewerScene('by hand', scene, ring(scene), ('a', 'b', 'c', 'd', 'e', 'f'), None))


def run(steps):
    """The number of steps and the result of a generator."""
    count = 0
    while True:
        try:
            next(steps)
            count += 1
        except StopIteration as end:
            return count, end.value


@pytest.mark.parametrize('rows', [22, 90])
def test_tiles_give_what_the_scene_renders_at_once(scene, rows):
    cameras = VIEW.cameras(rows, scene.downscale, scene.fine)
    whole = scene.render(cameras)
    kind = scene.head.renders
    count, seen = run(SceneRenderer(scene).tiles(cameras, kind, RAYS_PER_TILE['cpu'], keep_weights=False))
    rays = whole.depth.numel()
    assert count == -(-rays // RAYS_PER_TILE['cpu'])
    # Sums over other groups of rays are rounded otherwise.
    close = {'rtol': 1e-4, 'atol': 1e-4}
    torch.testing.assert_close(getattr(seen, kind), getattr(whole, kind), **close)
    torch.testing.assert_close(seen.depth, whole.depth, **close)
    torch.testing.assert_close(seen.opacity, whole.opacity, **close)
    assert seen.weights is None and seen.depths is None
    assert seen.depth.std() > 1


def test_depth_needs_no_colors(scene, monkeypatch):
    cameras = VIEW.cameras(22, scene.downscale, scene.fine)
    renderer = SceneRenderer(scene)
    monkeypatch.setattr(scene.head, 'compositor', None)
    _, seen = run(renderer.tiles(cameras, 'depth', 100))
    assert seen.rgb is None and seen.features is None
    monkeypatch.undo()
    torch.testing.assert_close(seen.depth, scene.render(cameras).depth, rtol=1e-4, atol=1e-4)


def test_coarse_pictures_come_first_and_the_last_is_the_scene_itself(session):
    pictures = [picture for picture in session.pictures(VIEW, RGB) if picture is not None]
    assert [picture.rows for picture in pictures] == list(ROWS)
    assert [picture.columns for picture in pictures] == [39, 80, 160, 320]
    assert pictures[-1].image.shape == (360, 640, 3)
    whole = session.scene.render(VIEW.cameras(ROWS[-1], session.scene.downscale, session.scene.fine))
    expected = to_uint8(whole.rgb)[0]
    assert expected.std() > 5
    difference = abs(pictures[-1].image.astype(int) - expected)
    assert difference.max() <= 1


def test_a_picture_says_how_many_rays_it_has_where_source_views_are_blended_in():
    scene, places = street(), ring(street())
    torch.manual_seed(0)
    images = torch.rand(len(places), 3, places.height, places.width)
    sources = Sources(images, places, torch.full_like(images[:, 0], WALL))
    scene = dataclasses.replace(scene, blend=SourceBlend().eval(), sources=sources)
    session = RenderSession(ViewerScene('by hand', scene, places, tuple('abcdef'), None))
    for mode in (RGB, DEPTH):
        *_, picture = (picture for picture in session.pictures(VIEW, mode, rows=(22,)) if picture is not None)
        assert (picture.rows, picture.columns) == (22, 39) and picture.image.shape == (44, 78, 3)


def test_there_are_many_points_at_which_to_give_up(session):
    steps = list(session.pictures(VIEW, RGB))
    assert len(steps) > 30 and sum(step is not None for step in steps) == len(ROWS)


def test_depth_shows_the_wall_at_its_distance(session):
    view = Viewpoint(look_from((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 0.4).cam2world, 0.4, 16 / 9)
    *_, picture = (picture for picture in session.pictures(view, DEPTH, rows=(22,)) if picture is not None)
    middle = picture.image[11, 15]
    expected = depth_to_colors(torch.tensor([[WALL]]).numpy())[0, 0]
    assert abs(middle.astype(int) - expected).max() < 30
    # The wall ends 10 m to the right, 27 degrees; there is nothing behind it.
    wide = look_from((0.0, 0.0, 0.5), (0.0, 1.0, 0.5), 0.9)
    *_, picture = (picture for picture in session.pictures(wide, DEPTH, rows=(90,)) if picture is not None)
    sky = (picture.image == (222, 226, 232)).all(axis=-1)
    assert sky[40, -10:].all() and not sky[40, :60].any()


def test_features_have_one_palette_for_all_views(session):
    first, again = (
        next(picture for picture in session.pictures(view, FEATURES, rows=(22,)) if picture is not None)
        for view in (VIEW, VIEW)
    )
    assert (first.image == again.image).all() and first.image.std() > 5


def test_the_first_picture_of_160_by_90_rays_comes_in_time(session):
    """Time of its own computing: a busy machine does not count. Less than a tenth of a second on an idle one."""

    def seconds() -> float:
        began = time.process_time()
        assert any(picture is not None and picture.rows == 90 for picture in session.pictures(VIEW, RGB, rows=ROWS[:3]))
        return time.process_time() - began

    assert min(seconds() for _ in range(3)) < 2
