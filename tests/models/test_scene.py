"""The scene as an object of its own: what it renders on request, where it is occupied, how it is kept."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.models.scene import Rendering, Scene
from projects.DistillNeRF.modules.renderer import RaySampling, render_rays
from projects.DistillNeRF.modules.source_blend import SourceBlend
from projects.DistillNeRF.modules.source_views import Sources
from tests.helpers.cameras import level_cameras
from tests.helpers.refusals import assert_refused
from tests.helpers.scenes import scene_at

CHANNELS = 4
SPACE = ParameterizedSpace()
# A wall ahead of the car (y = 10), its left half of another feature than its right half.
WALL = torch.cartesian_prod(torch.arange(-20, 20.1, 0.2), torch.tensor([10.0]), torch.arange(-4, 4.1, 0.03))
LEFT, RIGHT = torch.tensor([1.0, 0.0, 0.0, 2.0]), torch.tensor([0.0, 3.0, 0.0, 0.0])


def make_scene(points: torch.Tensor, features: torch.Tensor, logit: float = 3.0, head: str = 'color', **sampling):
    """One fine cell per point that is dense and has that feature; coarse cells are thin."""
    settings = {'width': 32, 'num_layers': 2} if head == 'color' else {'out_channels': 5}
    return scene_at(points, features, logit, sampling=RaySampling(**sampling), downscale=2, head=head, **settings)


def cameras(height: int = 12, width: int = 20, yaws: tuple[float, ...] = (0.0,)) -> Cameras:
    """Cameras at the origin; yaw to the right, degrees; 90 degrees wide."""
    return level_cameras(yaws, height, width)


@pytest.fixture(scope='module', params=['color', 'feature'])
def wall(request) -> Scene:
    features = torch.where(WALL[:, :1] < 0, LEFT, RIGHT)
    return make_scene(WALL, features, head=request.param)


def equal(one: Rendering, other: Rendering) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(Rendering)]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


# What is rendered.


@torch.no_grad()
def test_what_is_asked_for_is_what_comes(wall, monkeypatch):
    everything = wall.render(cameras())
    assert getattr(everything, wall.head.renders) is not None
    calls = []
    monkeypatch.setattr(type(wall.head), 'compositor', lambda *_: calls.append('composited'))
    monkeypatch.setattr(type(wall.head), 'forward', lambda *_: calls.append('decoded'))
    shape = wall.render(cameras(), outputs=('depth', 'opacity'))
    assert not calls
    assert shape.rgb is None and shape.features is None
    for name in ('depth', 'opacity', 'weights', 'depths'):
        assert torch.equal(getattr(shape, name), getattr(everything, name))


@torch.no_grad()
def test_features_need_no_decoder(monkeypatch):
    wall = make_scene(WALL, torch.where(WALL[:, :1] < 0, LEFT, RIGHT))
    both = wall.render(cameras(), ('rgb', 'features'))
    assert torch.equal(both.rgb, wall.render(cameras()).rgb)
    assert both.rgb.shape == (1, 3, 12, 20)
    monkeypatch.setattr(type(wall.head), 'forward', None)
    alone = wall.render(cameras(), 'features')
    assert alone.rgb is None
    assert torch.equal(alone.features, both.features)


@torch.no_grad()
def test_features_of_a_color_head_are_those_of_the_voxels():
    wall = make_scene(WALL, torch.where(WALL[:, :1] < 0, LEFT, RIGHT), published_quirks=False)
    rendering = wall.render(cameras(yaws=(0.0, 180.0)), ('features',))
    assert rendering.features.shape == (2, 2 * CHANNELS, 6, 10)
    # The first and the last row look over and under the wall.
    ahead, behind = rendering.features[:, :, 1:-1]
    expected = torch.where(torch.arange(10) < 5, LEFT[:, None], RIGHT[:, None])[:, None] * rendering.opacity[0, 1:-1]
    torch.testing.assert_close(ahead[:CHANNELS], expected, atol=1e-3, rtol=1e-3)
    assert rendering.opacity[0, 1:-1].min() > 0.9
    assert (ahead[1, :, :5] == 0).all() and (ahead[0, :, 5:] == 0).all()
    assert (ahead[CHANNELS:] == 0).all()
    assert behind.abs().max() < 1e-3


@torch.no_grad()
def test_features_of_a_feature_head_are_its_image():
    wall = make_scene(WALL, LEFT, head='feature')
    rendering = wall.render(cameras())
    assert rendering.features.shape == (1, 5, 6, 10)
    assert rendering.rgb is None and torch.equal(rendering.features, rendering.image)


@torch.no_grad()
def test_the_old_name_of_outputs_is_taken_but_not_beside_the_new_one(wall):
    old = wall.render(cameras(), what=('depth',))
    assert old.rgb is None and old.features is None
    assert torch.equal(old.depth, wall.render(cameras(), ('depth',)).depth)
    with pytest.raises(ValueError, match='old name of outputs'):
        wall.render(cameras(), ('depth',), what=('depth',))


def test_what_cannot_be_rendered():
    with pytest.raises(ValueError, match='renders features, not rgb'):
        make_scene(WALL, LEFT, head='feature').render(cameras(), ('rgb', 'depth'))
    scene = make_scene(WALL, LEFT)
    with pytest.raises(ValueError, match='normals cannot be rendered: ask for some of rgb, depth'):
        scene.render(cameras(), ('rgb', 'normals'))
    with pytest.raises(ValueError, match='13 x 20 cannot be rendered at 1/2'):
        scene.render(cameras(13), 'depth')


# Questions of language.


@torch.no_grad()
def test_a_query_finds_its_half_of_the_wall():
    wall = make_scene(WALL, torch.where(WALL[:, :1] < 0, LEFT, RIGHT))
    zeros = torch.zeros(CHANNELS)
    vectors = torch.stack([torch.cat([LEFT, zeros]) * 7, torch.cat([RIGHT, zeros]), torch.cat([zeros, LEFT])])
    found = wall.query_text(cameras(yaws=(0.0, 180.0)), vectors.double())
    assert found.shape == (3, 2, 6, 10)
    left = (torch.arange(10) < 5).float().expand(6, 10)
    torch.testing.assert_close(found[0, 0, 1:-1], left[1:-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1, 0, 1:-1], 1 - left[1:-1], atol=1e-4, rtol=0)
    assert found[:, 1].abs().max() < 1e-4
    assert found[2, 0].abs().max() < 1e-4
    opposite = wall.query_text(cameras(), -vectors)
    torch.testing.assert_close(opposite[:, 0], -found[:, 0])


def test_queries_of_another_width():
    scene = make_scene(WALL, LEFT)
    for wrong in (torch.ones(2, CHANNELS), torch.ones(2 * CHANNELS)):
        with pytest.raises(ValueError, match='features have 8 numbers'):
            scene.query_text(cameras(), wrong)


# Occupancy.


def test_occupied_voxels_are_those_with_the_points():
    points = torch.tensor([[3.1, 10.2, 0.5], [-7.4, 4.3, 2.1], [0.2, -9.1, -1.3]])
    scene = make_scene(points, LEFT)
    lower, voxel = (-8.0, -10.0, -2.0), 0.5
    occupied = scene.occupancy(lower, (8.0, 12.0, 3.0), voxel)
    assert occupied.shape == (32, 44, 10)
    index = ((points - torch.tensor(lower)) / voxel).floor().long()
    assert occupied[tuple(index.T)].all()
    # A fine cell of 0.49 x 0.49 x 0.06 m reaches into few voxels.
    found = occupied.nonzero()
    assert 3 <= len(found) <= 3 * 4 * 2
    assert ((found[:, None] - index).abs().amax(-1).amin(1) <= 1).all()


def test_thin_cells_are_not_occupied_and_no_cell_is_missed():
    points = torch.tensor([[3.1, 10.2, 0.5]])
    density = math.exp(10 * math.tanh(0.3) - 1)
    scene = make_scene(points, LEFT)
    box = ((-16.0, -16.0, -4.0), (16.0, 16.0, 4.0), 4.0)
    assert scene.occupancy(*box, min_density=density * 0.99).sum() == 1
    assert scene.occupancy(*box, min_density=density * 1.01).sum() == 0
    # Voxels much larger than the cells: every single cell is found, wherever it lies.
    torch.manual_seed(0)
    for point in torch.rand(20, 3) * torch.tensor([31.0, 31.0, 7.5]) - torch.tensor([15.5, 15.5, 3.7]):
        assert make_scene(point[None], LEFT).occupancy(*box).any()


def test_occupancy_in_several_parts_is_the_same(monkeypatch):
    scene = make_scene(WALL, LEFT)
    whole = scene.occupancy((-21, 8, -5), (21, 12, 5), 0.5)
    monkeypatch.setattr('projects.DistillNeRF.models.voxel_field.POINTS_PER_CHUNK', 5000)
    assert torch.equal(scene.occupancy((-21, 8, -5), (21, 12, 5), 0.5), whole)
    assert whole.any(2).any(0).nonzero().squeeze(1).tolist() in ([3, 4], [4], [3, 4, 5], [4, 5])


@pytest.mark.parametrize('corner', [(1.0, 1.0, 0.3), (1.0, 1.0, 0.0), (-1.0, 1.0, 1.0), (1.0, 1.0)])
def test_grids_that_are_none(corner):
    with pytest.raises(ValueError, match=r'whole voxels|argument 2'):
        make_scene(WALL[:1], LEFT).occupancy((0.0, 0.0, 0.0), corner, 0.5)


# Files, devices, precision.


@pytest.mark.parametrize('quirks', [False, True])
@torch.no_grad()
def test_a_loaded_scene_renders_the_same_bits(wall, tmp_path, quirks):
    sampling = RaySampling(stride=2, fine_samples=6, logit_bound=9.0, published_quirks=quirks)
    space = ParameterizedSpace(step=0.5, far=90.0)
    head = wall.head.to(memory_format=torch.channels_last)
    scene = dataclasses.replace(wall, sampling=sampling, space=space, head=head.eval())
    scene.save(tmp_path / 'new' / 'scene.pt')
    loaded = Scene.load(tmp_path / 'new' / 'scene.pt').to(wall.fine.device)
    assert (loaded.space, loaded.sampling, loaded.downscale) == (space, sampling, 2)
    assert not loaded.head.training
    every = cameras(24, 32, (0.0, 60.0))
    assert equal(loaded.render(every), scene.render(every))
    assert not equal(loaded.render(every), wall.render(every))
    box = ((-21, 8, -5), (21, 12, 5), 0.5)
    assert torch.equal(loaded.occupancy(*box), scene.occupancy(*box))


@torch.no_grad()
def test_a_scene_in_double_precision(wall, tmp_path):
    double = wall.to(torch.float64)
    assert wall.fine.dtype == next(wall.head.parameters()).dtype == torch.float32
    view = cameras().to(torch.float64)
    rendering = double.render(view)
    assert rendering.image.dtype == torch.float64
    torch.testing.assert_close(rendering.image.float(), wall.render(cameras()).image, atol=1e-3, rtol=1e-3)
    double.save(tmp_path / 'scene.pt')
    loaded = Scene.load(tmp_path / 'scene.pt').to(wall.fine.device)
    assert equal(loaded.render(view), rendering)


def test_a_file_holds_no_more_than_the_scene(wall, tmp_path):
    """Voxels that are a part of a larger tensor, and tables that can be built again, are not stored."""
    large = torch.cat([wall.fine, torch.zeros(200_000, CHANNELS + 1)])[: len(wall.fine)]
    dataclasses.replace(wall, fine=large).save(tmp_path / 'scene.pt')
    numbers = wall.fine.numel() + wall.coarse.numel() + len(wall.grid.fine_codes)
    numbers += sum(value.numel() for value in wall.head.state_dict().values())
    assert (tmp_path / 'scene.pt').stat().st_size < 4 * numbers + 20_000


@pytest.mark.parametrize('share', [0.0, 0.3, 0.99])
def test_truncated_files(wall, tmp_path, share):
    path = tmp_path / 'scene.pt'
    wall.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


def refused(path, *words: str) -> None:
    assert_refused(lambda: Scene.load(path), *words, start=f'{path}: ')


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        ({'format': 'other'}, 'not a scene'),
        ({'format_version': 5}, 'version 5, not 4'),
        ({'codes': None}, 'damaged'),
        ({'codes': torch.tensor([5, 3], dtype=torch.int32)}, 'not in order'),
        ({'codes': torch.tensor([8**8], dtype=torch.int32)}, 'not in order'),
        ({'fine': torch.zeros(3, CHANNELS + 1)}, 'fine voxels are (3, 5)'),
        ({'head_weights': {}}, 'damaged'),
        ({'space': {'inner': 3}}, 'damaged'),
        ({'sampling': None}, 'damaged'),
    ],
)
def test_other_files(wall, tmp_path, change, word):
    path = tmp_path / 'scene.pt'
    wall.save(path)
    torch.save(torch.load(path) | change, path)
    refused(path, word)


def test_files_that_are_no_scenes(tmp_path):
    refused(tmp_path / 'missing.pt', 'no such file')
    (tmp_path / 'text.pt').write_text('not a scene')
    refused(tmp_path / 'text.pt', 'not a readable scene')
    torch.save({'state_dict': {}}, tmp_path / 'checkpoint.pth')
    refused(tmp_path / 'checkpoint.pth', 'not a scene')


def test_voxels_that_are_not_numbers(wall, tmp_path):
    fine = wall.fine.clone()
    fine[3, 1] = math.nan
    dataclasses.replace(wall, fine=fine).save(tmp_path / 'scene.pt')
    refused(tmp_path / 'scene.pt', 'fine voxels hold NaN')


# The class of the camera.


@torch.no_grad()
def test_the_usual_camera_class_is_one_and_another_can_be_asked_for():
    wall = make_scene(WALL, LEFT)
    composite = wall.render_composite(cameras(yaws=(0.0, 90.0))).composite
    for options, number in (({}, 1), ({'camera_class': 0}, 0), ({'camera_class': 2}, 2)):
        expected = wall.head(composite, torch.tensor([number, number]))
        assert torch.equal(wall.render(cameras(yaws=(0.0, 90.0)), **options).rgb, expected)
        other = wall.head(composite, torch.tensor([number + 1, number + 1]) % 3)
        assert not torch.equal(expected, other)


@torch.no_grad()
def test_a_pixel_is_the_ray_through_its_place_in_the_image():
    """Maps are half the size of the images and span them corner to corner; views come one after the other."""
    wall = make_scene(WALL, LEFT)
    view = cameras(yaws=(0.0, 25.0))
    rays = wall.render_composite(view)
    origins, directions = view.rays(6, 10)
    tables = wall.tables()
    alone = render_rays(
        tables, SPACE, wall.sampling, wall.head.compositor(tables), origins[[1]], directions[1, 4, 7][None]
    )
    assert rays.depth.shape == rays.opacity.shape == (2, 6, 10)
    torch.testing.assert_close(rays.depth[1, 4, 7], alone.depth[0])
    torch.testing.assert_close(rays.opacity[1, 4, 7], alone.opacity[0])
    torch.testing.assert_close(rays.composite[1, :, 4, 7], alone.composite[0])
    torch.testing.assert_close(rays.weights[1, 4, 7], alone.weights[0])
    torch.testing.assert_close(rays.depths[1, 4, 7], alone.depths[0])


@torch.no_grad()
def test_a_query_tells_density_and_whether_there_is_a_cell():
    point = torch.tensor([[3.1, 10.2, 0.5]])
    scene = make_scene(point, LEFT, logit=3.0)
    # In the fine cell, in its coarse cell (1.95 x 1.95 x 0.25 m) beside it, and elsewhere.
    near = point + torch.tensor([0.0, 0.0, 0.125])
    if (scene.space.contract(near) * 32).floor().equal((scene.space.contract(point) * 32).floor()):
        beside = near
    else:
        beside = point - torch.tensor([0.0, 0.0, 0.125])
    density, occupied = scene.query(torch.cat([point, beside, -point]))
    assert occupied.tolist() == [True, True, False]
    expected = [math.exp(10 * math.tanh(0.3) - 1), math.exp(10 * math.tanh(-1) - 1), math.exp(-31)]
    torch.testing.assert_close(density, torch.tensor(expected))


def test_occupancy_counts_from_half_a_unit_of_density_on():
    scene = make_scene(torch.tensor([[3.1, 10.2, 0.5]]), LEFT, logit=0.4)
    box = ((0.0, 8.0, 0.0), (4.0, 12.0, 4.0), 4.0)
    assert scene.occupancy(*box).tolist() == [[[True]]]  # exp(0.4 - 1) = 0.55
    scene = make_scene(torch.tensor([[3.1, 10.2, 0.5]]), LEFT, logit=0.25)
    assert scene.occupancy(*box).tolist() == [[[False]]]  # exp(0.25 - 1) = 0.47


# Source views.


def with_sources(scene: Scene, places: Cameras) -> Scene:
    """Return the scene with a blend and noise as the images of ``places``, which see a wall at y = 10 m."""
    torch.manual_seed(0)
    _, directions = places.rays(places.height, places.width)
    distances = (10 / directions[..., 1]).clamp(min=0.5)
    sources = Sources(torch.rand(len(places), 3, places.height, places.width), places, distances)
    blend = SourceBlend(count=2, channels=8).eval()
    if scene.head.renders == 'features':
        blend = SourceBlend(count=2, channels=8, features=(5, 2 * CHANNELS)).eval()
        features = torch.rand(len(places), 2 * CHANNELS, places.height, places.width)
        sources = dataclasses.replace(sources, features=blend.of_images(features).detach())
    torch.nn.init.normal_(blend.last.weight, std=0.1)
    return dataclasses.replace(scene, blend=blend, sources=sources)


@torch.no_grad()
def test_source_views_come_along_in_files_copies_and_other_precisions(tmp_path):
    places = cameras(24, 40, (0.0, 40.0))
    scene = with_sources(make_scene(WALL, LEFT), places)
    view = cameras(24, 40, (10.0,))
    expected = scene.render(view, ('rgb', 'depth'))
    assert expected.depth.shape == expected.opacity.shape == (1, 24, 40) and expected.voxel_depth.shape == (1, 12, 20)
    assert not torch.equal(expected.rgb, make_scene(WALL, LEFT).render(view).rgb)
    scene.save(tmp_path / 'scene.pt')
    loaded = Scene.load(tmp_path / 'scene.pt')
    assert not loaded.blend.training
    assert equal(loaded.render(view, ('rgb', 'depth')), expected)
    double = scene.to(torch.float64).render(view.to(torch.float64))
    assert double.rgb.dtype == double.depth.dtype == torch.float64
    # Single pixels differ by more: the nearest pixel of a source may be another one.
    assert (double.rgb.float() - expected.rgb).abs().mean() < 2e-3


@torch.no_grad()
def test_features_of_source_views_come_along_too(tmp_path):
    places, view = cameras(24, 40, (0.0, 40.0)), cameras(24, 40, (10.0,))
    plain = make_scene(WALL, LEFT, head='feature')
    scene = with_sources(plain, places)
    expected = scene.render(view)
    assert expected.features.shape == (1, 5, 12, 20) and expected.depth.shape == (1, 12, 20)
    assert not torch.equal(expected.features, plain.render(view).features)
    assert torch.equal(scene.render(view, ('depth',)).depth, expected.depth)
    assert scene.render(view, ('depth',)).features is None
    scene.save(tmp_path / 'scene.pt')
    assert torch.load(tmp_path / 'scene.pt')['format_version'] == 4
    assert equal(Scene.load(tmp_path / 'scene.pt').render(view), expected)
    heat = scene.query_text(view, torch.eye(5)[:2])
    torch.testing.assert_close(heat[0], torch.nn.functional.normalize(expected.features, dim=1)[:, 0])
    state = torch.load(tmp_path / 'scene.pt')
    for change, word in (
        ({'features': state['sources']['features'][:, :4]}, 'do not have the features'),
        ({'features': state['sources']['features'][:, :, 1:]}, 'do not fit their images'),
        ({'features': math.nan * state['sources']['features']}, 'NaN'),
    ):
        torch.save(state | {'sources': state['sources'] | change}, tmp_path / 'other.pt')
        refused(tmp_path / 'other.pt', word)
    del state['sources']['features']
    torch.save(state, tmp_path / 'other.pt')
    refused(tmp_path / 'other.pt', 'do not have the features')


@torch.no_grad()
def test_depth_alone_is_that_of_source_views_and_features_are_those_of_voxels():
    scene = with_sources(make_scene(WALL, LEFT), cameras(24, 40))
    view = cameras(24, 40, (10.0,))
    everything = scene.render(view, ('rgb', 'features'))
    alone = scene.render(view, ('depth',))
    assert alone.rgb is None and torch.equal(alone.depth, everything.depth)
    assert torch.equal(everything.features, make_scene(WALL, LEFT).render(view, ('features',)).features)


@torch.no_grad()
def test_an_input_view_is_withheld_if_that_is_asked_for():
    places = cameras(24, 40, (0.0, 40.0))
    scene = with_sources(make_scene(WALL, LEFT), places)
    other = dataclasses.replace(scene.sources, images=1 - scene.sources.images)
    changed = dataclasses.replace(scene, sources=other)
    assert torch.equal(
        scene.render(places[[0]], withhold_own=True).rgb[..., :10],
        changed.render(places[[0]], withhold_own=True).rgb[..., :10],
    )
    assert not torch.allclose(scene.render(places[[0]]).rgb[..., :10], changed.render(places[[0]]).rgb[..., :10])


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        ({'blend': {'rooms': 3}}, 'damaged'),
        ({'blend_weights': {}}, 'damaged'),
        ({'sources': {}}, 'damaged'),
        ({'distances': torch.ones(1, 5, 5)}, 'do not fit together'),
        ({'images': torch.full((1, 3, 12, 20), math.nan)}, 'source views hold NaN'),
    ],
)
def test_files_with_damaged_source_views(tmp_path, change, word):
    path = tmp_path / 'scene.pt'
    with_sources(make_scene(WALL, LEFT), cameras()).save(path)
    state = torch.load(path)
    if set(change) <= set(state):
        state |= change
    else:
        state['sources'] |= change
    torch.save(state, path)
    refused(path, word)
