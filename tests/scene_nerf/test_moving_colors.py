"""Colors of things that move, from images of other times."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.field import SceneField
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.moving_colors import warp_things
from projects.DistillNeRF.scene_nerf.teacher import TeacherRendering
from projects.DistillNeRF.scene_nerf.warping import Sources, depth_with_sky
from projects.DistillNeRF.visualization.viewer.viewpoints import look_from
from tests.helpers.fields import add_things, flat_pose, red_block, thing

ROWS, COLUMNS = 54, 96


@pytest.fixture
def field() -> SceneField:
    """A thing with a gradient of colors that goes by and turns, in front of nothing."""
    one = red_block(1)
    add_things(
        one, (0.0, 0.0, 0.0), thing((0.0, flat_pose(0.0, -2, 12, 0)), (1.0, flat_pose(0.4, 2, 14, 0)), half=(3, 1, 1.5))
    )
    cells = one.moving.cells
    places = cells.grid.centers.new_zeros(cells.grid.num_vertices, 3)
    for corner in range(8):
        places[cells.grid.vertices[:, corner].long()] = cells.grid.centers
    with torch.no_grad():
        cells.values[:, 1:4] = torch.sin(places)
    return one


def camera(x: float = 0.0) -> Cameras:
    single = look_from((x, 0, 1), (0, 12, 0), 1.0).cameras(ROWS, 1, torch.zeros(()))
    assert single.width == COLUMNS
    return single


@torch.no_grad()
def render(field: SceneField, view: Cameras, time: float) -> TeacherRendering:
    pose, intrinsics = (x[0].double().numpy() for x in (view.cam2world, view.intrinsics))
    image = DriveImage('', 'FRONT', 0, 0.0, ROWS, COLUMNS, intrinsics, pose, {}, {})
    return FieldTeacher(field, [image], (ROWS, COLUMNS), warp=False).render(view, time)


def sources(field: SceneField, places: dict[float, float], now: float) -> Sources:
    """Recorded images at some times, from some places."""
    cameras = [camera(x) for x in places.values()]
    seen = [render(field, one, time) for one, time in zip(cameras, places, strict=True)]
    return Sources(
        Cameras(*(torch.cat([getattr(c, n) for c in cameras]) for n in ('intrinsics', 'cam2world')), ROWS, COLUMNS),
        torch.cat([one.image for one in seen]),
        torch.cat([depth_with_sky(one) for one in seen]),
        torch.tensor([time - now for time in places]),
        torch.ones(len(places), dtype=torch.bool),
        moving=torch.cat([one.moving for one in seen]),
        exposure=torch.eye(3, 4).expand(len(places), 3, 4),
    )


def error(one: Tensor, other: Tensor, mask: Tensor) -> float:
    return float((one - other).abs().mean(0)[mask].mean())


def test_things_are_looked_up_where_they_were(field):
    true = render(field, camera(), 0.5)
    mask = (true.moving[0] > 0.9) & true.depth[0].isfinite()
    assert mask.sum() > 100
    gray = dataclasses.replace(true, image=torch.full_like(true.image, 0.5))
    there = sources(field, {0.3: 0.5, 0.8: -0.5}, 0.5)
    found = warp_things(camera(), gray, there, field.moving.things, 0.5)
    stands = warp_things(
        camera(), gray, there, [dataclasses.replace(t, poses=t.poses[[0, 0]]) for t in field.moving.things], 0.5
    )
    assert error(found, true.image[0], mask) < 0.25 * error(gray.image[0], true.image[0], mask)
    assert error(stands, true.image[0], mask) > 0.5 * error(gray.image[0], true.image[0], mask)
    # What stands is not touched.
    assert torch.equal(found[:, true.moving[0] <= 0.5], gray.image[0][:, true.moving[0] <= 0.5])


def test_things_that_were_not_there_keep_their_colors(field):
    true = render(field, camera(), 0.5)
    there = sources(field, {7.0: 0.0}, 0.5)
    assert torch.equal(warp_things(camera(), true, there, field.moving.things, 0.5), true.image[0])
    assert torch.equal(warp_things(camera(), true, there, (), 0.5), true.image[0])
    nothing = render(field, camera(), 7.0)
    assert (nothing.moving == 0).all()
    assert torch.equal(warp_things(camera(), nothing, there, field.moving.things, 7.0), nothing.image[0])
