"""Warped colors on planes whose colors are known, and what must not be seen."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.scene_nerf.exposure import apply_exposure, fit_exposure
from projects.DistillNeRF.scene_nerf.teacher import TeacherRendering
from projects.DistillNeRF.scene_nerf.warping import (
    Sources,
    Warping,
    _largest_around,
    depth_with_sky,
    warp_colors,
)
from tests.helpers.cameras import pinhole

H, W, FOCAL = 11, 17, 12.0
PLAIN = Warping(exposure=False)


def cameras_at(*places: tuple[float, float, float], height: int = H, width: int = W, yaw: float = 0.0) -> Cameras:
    """Cameras that look along +z of the world, turned about y by ``yaw`` degrees."""
    poses = torch.eye(4).repeat(len(places), 1, 1)
    poses[:, :3, 3] = torch.tensor(places)
    sine, cosine = math.sin(math.radians(yaw)), math.cos(math.radians(yaw))
    poses[:, :3, :3] = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return Cameras(pinhole(FOCAL, ((width - 1) / 2, (height - 1) / 2), len(places)), poses, height, width)


def plane(cameras: Cameras, z: float) -> tuple[Tensor, Tensor]:
    """A plane of constant z with colors linear in the place: colors ``(V, 3, h, w)``, depth ``(V, h, w)``."""
    origins, directions = cameras.rays(cameras.height, cameras.width)
    length = (z - origins[:, None, None, 2]) / directions[..., 2]
    points = origins[:, None, None] + length[..., None] * directions
    x, y = points[..., 0] / z, points[..., 1] / z
    return torch.stack((0.5 + 0.1 * x, 0.5 - 0.2 * y, 0.4 + 0.1 * (x + y)), 1), cameras_z(points, cameras)


def cameras_z(points: Tensor, cameras: Cameras) -> Tensor:
    flat = points.flatten(1, 2)
    z = torch.stack([camera.project(part)[1] for camera, part in zip(split(cameras), flat, strict=True)])
    return z.view(points.shape[:-1])


def split(cameras: Cameras) -> list[Cameras]:
    return [cameras[index] for index in range(len(cameras))]


def sources_of(cameras: Cameras, image: Tensor, depth: Tensor, **others) -> Sources:
    count = len(image)
    fields = {'seconds': torch.zeros(count), 'same_camera': torch.ones(count, dtype=torch.bool), **others}
    return Sources(cameras, image, depth, **fields)


def colored(color: float, z: float, *places: tuple[float, float, float], **others) -> Sources:
    """Sources that see a plane of one color at a constant z."""
    count = len(places)
    return sources_of(cameras_at(*places), torch.full((count, 3, H, W), color), torch.full((count, H, W), z), **others)


def gray(value: float, views: int = 1) -> Tensor:
    return torch.full((views, 3, H, W), value)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize(('height', 'width'), [(11, 17), (8, 8), (1, 5), (7, 1)])
def test_a_plane_is_exact(dtype: torch.dtype, height: int, width: int):
    target = cameras_at((0, 0, 0), height=height, width=width)
    near = cameras_at((0.3, -0.1, -0.4), (-0.2, 0.1, 0.2), (0, 0, 0), height=height, width=width)
    truth, depth = plane(target, 8.0)
    image, source_depth = plane(near, 8.0)
    sources = sources_of(near, image, source_depth).to(dtype)
    warped = warp_colors(target.to(dtype), depth.to(dtype), sources, how=PLAIN)
    assert warped.image.dtype == warped.confidence.dtype == dtype
    seen = warped.confidence > 0
    assert seen.all()
    # Half a pixel at the border is read as the border.
    inner = (slice(None), slice(None), slice(2, -2) if height > 4 else slice(None), slice(2, -2) if width > 4 else ...)
    if min(height, width) > 4:
        torch.testing.assert_close(warped.image[inner], truth.to(dtype)[inner], atol=1e-5, rtol=0)


def test_a_slanted_plane_is_seen_everywhere():
    near = cameras_at((0.1, 0, 0), yaw=35.0)
    target = cameras_at((0, 0, 0), yaw=30.0)
    (truth, depth), (image, source_depth) = plane(target, 8.0), plane(near, 8.0)
    warped = warp_colors(target, depth, sources_of(near, image, source_depth), gray(0), how=PLAIN)
    inner = (slice(None), slice(None), slice(2, -2), slice(3, -3))
    # Turned, the colors are no longer linear in the pixel.
    torch.testing.assert_close(warped.image[inner], truth[inner], atol=1e-3, rtol=0)
    assert (warped.confidence[:, 2:-2, 3:-3] == 1).all()


def test_a_source_that_sees_another_surface_says_nothing():
    target, depth = cameras_at((0, 0, 0)), torch.full((1, H, W), 10.0)
    for other in (5.0, 20.0, math.nan, math.inf):
        sources = colored(1.0, other, (0.1, 0, 0))
        warped = warp_colors(target, depth, sources, gray(0.25), how=PLAIN)
        assert (warped.confidence == 0).all() and (warped.image == 0.25).all()
    right = colored(0.75, 10.0, (0.2, 0, 0), (0.1, 0, 0))
    both = dataclasses.replace(right, image=torch.cat((gray(1.0), gray(0.75))), depth=right.depth.clone())
    both.depth[0] = 5.0
    warped = warp_colors(target, depth, both, gray(0.25), how=PLAIN)
    torch.testing.assert_close(warped.image[..., 1:-1], gray(0.75)[..., 1:-1])


def test_two_planes_what_the_near_one_hides_is_looked_up_elsewhere():
    """A pole (z 4, white) before a wall (z 8, black): the first source sees the pole where the view sees the wall."""
    target = cameras_at((0, 0, 0))
    columns = torch.arange(W)

    def seen_from(x: float) -> tuple[Tensor, Tensor]:
        middle = (W - 1) / 2 - x * FOCAL / 4
        pole = ((columns - middle).abs() < 2.5).expand(1, H, W)
        return pole.float()[:, None].expand(1, 3, H, W), torch.where(pole, 4.0, 8.0)

    truth, depth = seen_from(0.0)
    parts = [seen_from(x) for x in (1.0, -1.0)]
    sources = sources_of(
        cameras_at((1.0, 0, 0), (-1.0, 0, 0)), torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    )
    warped = warp_colors(target, depth, sources, gray(0.5), how=PLAIN)
    torch.testing.assert_close(warped.image, truth, atol=1e-5, rtol=0)
    alone = warp_colors(target, depth, sources[[0]], gray(0.5), how=PLAIN)
    hidden = (alone.confidence == 0) & (depth == 8.0)
    assert hidden.any() and (alone.image[:, 0][hidden] == 0.5).all()


def test_outlines_that_the_depth_of_sources_misses_do_not_stand_in_the_sky():
    """A sign (black, z 4) is two pixels wider on all sides in the images than in the depths of the two sources."""
    target, sky = cameras_at((0, 0, 0)), torch.full((1, H, W), math.inf)
    offsets = torch.arange(W) - (W - 1) / 2 + torch.tensor([[1.0], [-1.0]]) * FOCAL / 4
    rows = (torch.arange(H) - (H - 1) / 2).abs()[:, None]

    def sign(half: float) -> Tensor:
        return (offsets.abs() < half)[:, None] & (rows < half + 1)

    image = torch.where(sign(3.6), 0.0, 0.8)[:, None].expand(2, 3, H, W)
    sources = sources_of(cameras_at((1.0, 0, 0), (-1.0, 0, 0)), image, torch.where(sign(1.6), 4.0, math.inf))

    def error(fallback: float, **settings) -> Tensor:
        how = Warping(exposure=False, align=False, **settings)
        warped = warp_colors(target, sky, sources, gray(fallback), how=how)
        assert warped.confidence.eq(1).all()
        return (warped.image - 0.8).abs().amax((0, 1))

    # Where both sources have no other color, there is nothing to choose from.
    clear = ~sign(3.6).all(0)
    assert error(0.8, margin=0.0, agree=1e6)[clear].max() > 0.3
    assert error(0.8, margin=2 / W, agree=1e6)[clear].max() < 0.8 / 11 + 1e-5
    assert error(0.8, margin=0.0)[clear].max() < 0.05
    assert error(0.8, margin=2 / W)[clear].max() < 0.01
    # The fallback chooses, it is not mixed in; one that knows nothing chooses nothing.
    assert error(0.7, margin=2 / W)[clear].max() < 0.01
    torch.testing.assert_close(error(math.nan, margin=0.0), error(math.nan, margin=0.0, agree=1e6))


def test_cameras_that_look_away_say_nothing():
    target, depth = cameras_at((0, 0, 0)), torch.full((1, H, W), 10.0)
    for cameras in (cameras_at((0, 0, 0), yaw=180.0), cameras_at((0, 0, 20.0)), cameras_at((500.0, 0, 0))):
        sources = sources_of(cameras, gray(1.0), torch.full((1, H, W), 10.0))
        warped = warp_colors(target, depth, sources, gray(0.25), how=PLAIN)
        assert (warped.confidence == 0).all() and (warped.image == 0.25).all()
    mirrored = cameras_at((0, 0, 0))
    pose = mirrored.cam2world.clone()
    pose[:, 0, 0] = -1  # left is right: the colors must follow
    image, source_depth = plane(dataclasses.replace(mirrored, cam2world=pose), 8.0)
    sources = sources_of(dataclasses.replace(mirrored, cam2world=pose), image, source_depth)
    truth, depth = plane(target, 8.0)
    torch.testing.assert_close(warp_colors(target, depth, sources, how=PLAIN).image, truth, atol=1e-5, rtol=0)


def test_without_sources_or_depth_the_fallback_stays():
    target, depth = cameras_at((0, 0, 0)), torch.full((1, H, W), 10.0)
    sources = colored(1.0, 10.0, (0, 0, 0))
    empty = warp_colors(target, depth, sources[[]], gray(0.25))
    assert (empty.image == 0.25).all() and (empty.confidence == 0).all()
    assert warp_colors(target, depth, sources[[]]).image.isnan().all()
    depth[0, 3, 4], depth[0, 3, 5] = math.nan, 0.0
    warped = warp_colors(target, depth, sources, gray(0.25), how=PLAIN)
    unknown = torch.zeros(1, H, W, dtype=torch.bool)
    unknown[0, 3, 4:6] = True
    assert torch.equal(warped.confidence == 0, unknown)
    assert (warped.image[0, :, 3, 4:6] == 0.25).all() and (warped.image[0, :, 0] == 1).all()
    # A fallback that knows nothing takes nothing away.
    alone = warp_colors(target, depth, sources)
    assert torch.equal(alone.image.isnan().any(1), unknown) and alone.image.nan_to_num(1.0).eq(1).all()
    assert warp_colors(target[[]], depth[:0], sources).image.shape == (0, 3, H, W)


def test_the_sky_is_looked_up_by_direction():
    """The source stands 50 m away and looks elsewhere: the color of a direction stays."""
    target, near = cameras_at((0, 0, 0)), cameras_at((50.0, 3.0, -20.0), yaw=8.0)
    sky = torch.full((1, H, W), math.inf)

    def of_direction(cameras: Cameras) -> Tensor:
        directions = cameras.rays(H, W)[1]
        return 0.5 + 0.3 * (directions[..., :2] / directions[..., 2:]).movedim(-1, 1)[:, [0, 1, 0]]

    sources = sources_of(near, of_direction(near), sky)
    warped = warp_colors(target, sky, sources, gray(0), how=dataclasses.replace(PLAIN, apart=1e9))
    seen = warped.confidence > 0
    # Colors are not quite linear in the turned image.
    error = (warped.image - of_direction(target)).abs().amax(1)[:, 1:-1, 3:]
    assert seen[:, 1:-1, 3:].all() and error.max() < 2e-3
    # Things are not the sky, however far to look.
    things = dataclasses.replace(sources, depth=torch.full((1, H, W), 30.0))
    assert (warp_colors(target, sky, things, gray(0), how=PLAIN).confidence == 0).all()
    rendering = TeacherRendering(torch.tensor([[[math.nan, math.nan, 3.0]]]), torch.tensor([[[0.0, 1.0, 0.9]]]))
    depth = depth_with_sky(rendering)
    assert depth[0, 0, 0].isnan() and depth[0, 0, 1:].tolist() == [math.inf, 3.0]


def test_what_moves_comes_from_the_same_instant():
    target, depth = cameras_at((0, 0, 0)), torch.full((1, H, W), 10.0)
    moving = torch.zeros(1, H, W)
    moving[..., :5] = 1
    late = colored(1.0, 10.0, (0, 0, 0), seconds=torch.tensor([-0.5]))
    warped = warp_colors(target, depth, late, gray(0.25), moving, PLAIN)
    assert torch.equal(warped.confidence > 0, moving == 0)
    assert (warped.image[..., :5] == 0.25).all()
    now = dataclasses.replace(late, seconds=torch.tensor([0.01]))
    assert (warp_colors(target, depth, now, gray(0.25), moving, PLAIN).image == 1).all()
    # What moves in a source was elsewhere at the time of the view.
    late = dataclasses.replace(late, moving=moving)
    assert torch.equal(warp_colors(target, depth, late, gray(0.25), how=PLAIN).confidence > 0, moving == 0)


def test_near_sources_of_the_same_camera_count_most():
    target, depth = cameras_at((0, 0, 0)), torch.full((1, H, W), 10.0)
    places = ((0.1, 0, 0), (2.0, 0, 0))
    two = dataclasses.replace(colored(0.0, 10.0, *places), image=torch.cat((gray(0.0), gray(1.0))))
    center = (0, 0, H // 2, W // 2)
    assert warp_colors(target, depth, two, how=PLAIN).image[center] < 0.25
    both = dataclasses.replace(colored(0.0, 10.0, places[0], places[0]), image=two.image)
    assert warp_colors(target, depth, both, how=PLAIN).image[center] == 0.5
    for change in ({'same_camera': torch.tensor([True, False])}, {'seconds': torch.tensor([0.0, 3.0])}):
        assert warp_colors(target, depth, dataclasses.replace(both, **change), how=PLAIN).image[center] < 0.15


def test_bytes_and_other_sizes_of_depth_and_view():
    target = cameras_at((0, 0, 0)).resized(6, 9)
    depth = torch.full((1, 6, 9), 10.0)
    sources = dataclasses.replace(
        colored(0.0, 10.0, (0.1, 0, 0)), image=torch.full((1, 3, H, W), 51, dtype=torch.uint8), depth=depth[:, :3, :4]
    )
    warped = warp_colors(target, depth, sources, torch.full((1, 3, 6, 9), 0.2), how=PLAIN)
    torch.testing.assert_close(warped.image, torch.full((1, 3, 6, 9), 0.2))
    assert (warped.confidence[..., 1:-1] == 1).all()


def test_each_view_is_as_if_alone():
    cameras = cameras_at((0, 0, 0), (0.5, 0, 0))
    depth = plane(cameras, 8.0)[1]
    near = cameras_at((0.2, 0.1, 0))
    sources = sources_of(near, *plane(near, 8.0))
    together = warp_colors(cameras, depth, sources, gray(0.25, 2))
    for view in (0, 1):
        alone = warp_colors(cameras[[view]], depth[[view]], sources, gray(0.25))
        torch.testing.assert_close(alone.image[0], together.image[view], rtol=0, atol=0)


def test_exposure_given_or_fitted():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 3, H, W, generator=generator) * 0.6 + 0.1
    target, depth = cameras_at((0, 0, 0)), torch.full((1, H, W), 10.0)
    darker = sources_of(target, truth * 0.7 + 0.02, depth)
    back = torch.eye(3, 4) / 0.7
    back[:, 3] = -0.02 / 0.7
    given = dataclasses.replace(darker, exposure=back[None])
    torch.testing.assert_close(warp_colors(target, depth, given, gray(0)).image, truth, atol=1e-5, rtol=0)
    fallback = truth.clone()
    fallback[..., :3] = 1.0  # something else stands there
    fitted = warp_colors(target, depth, darker, fallback).image
    assert (fitted - truth)[..., 3:].abs().max() < 0.03 < (darker.image - truth)[..., 3:].abs().max()
    unknown = torch.full_like(truth, math.nan)
    torch.testing.assert_close(warp_colors(target, depth, darker, unknown).image, darker.image)


def test_no_colors_give_no_exposure():
    identity = torch.eye(3, 4)[None]
    exposure = fit_exposure(gray(0.2), gray(0.9)[0], torch.zeros(1, H, W))
    torch.testing.assert_close(exposure, identity)
    torch.testing.assert_close(apply_exposure(identity, gray(0.2)), gray(0.2))


@pytest.mark.parametrize('align', [True, False])
def test_what_poses_are_off_by_is_taken_out_between_images_before_and_after(align: bool):
    """Clouds, recorded 2 pixels to the left before and to the right after, are at their place between."""
    height, width = 40, 60
    cells = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))

    def clouds(shift: int) -> Tensor:
        return torch.nn.functional.interpolate(cells, (height, width), mode='bicubic').clamp(0, 1).roll(shift, -1)

    cameras = cameras_at((0, 0, 0), (0, 0, 0), height=height, width=width)
    sky = torch.full((2, height, width), math.inf)
    sources = sources_of(cameras, torch.cat([clouds(-2), clouds(2)]), sky, seconds=torch.tensor([-0.1, 0.1]))
    how = dataclasses.replace(PLAIN, align=align)
    warped = warp_colors(cameras[:1], sky[:1], sources, how=how)
    difference = (warped.image - clouds(0))[..., 8:-8].abs().mean()
    assert difference < 0.015 if align else difference > 0.03
    torch.testing.assert_close(warped.confidence, torch.ones_like(warped.confidence))


@pytest.mark.parametrize(('size', 'reach'), [((11, 17), 1), ((11, 17), 3), ((1, 5), 2), ((4, 1), 9)])
def test_largest_around_is_the_maximum_pooling_of_torch(size: tuple[int, int], reach: int):
    values = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    before = values.clone()
    found = _largest_around(values, reach)
    pooled = torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(values[:, None], [reach] * 4, value=-math.inf), 2 * reach + 1, 1
    )
    assert torch.equal(found, pooled[:, 0]) and torch.equal(values, before)
