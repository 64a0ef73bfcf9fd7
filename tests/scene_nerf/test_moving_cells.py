"""Cells that move: where rays cross the boxes of things, and how these are composited with what stands."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.scene_nerf.cells import Cells
from projects.DistillNeRF.scene_nerf.field import SceneField
from projects.DistillNeRF.scene_nerf.marching import Marching, Rays
from projects.DistillNeRF.scene_nerf.moving_cells import MovingCells
from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes, NestedGrid
from projects.DistillNeRF.scene_nerf.tracks import Thing
from tests.helpers.fields import add_things, flat_pose, opaque_values, thing

TRANSPARENT = -12.0


def moving(*things: Thing, size: float = 0.4) -> MovingCells:
    """Cells of things as training begins with them."""
    cells = MovingCells()
    cells.learn_of(things, size)
    cells.begin(size)
    return cells


def wall(distance: float) -> Cells:
    """An opaque wall across the y axis, half a meter thick, green."""
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.5, 1, (40.0, 40.0, 40.0), coarsest=0.5)
    axes = [torch.arange(8 * int(count)) for count in boxes.blocks[0]]
    depth = boxes.lower[0, 1] + (axes[1] + 0.5) * 0.5
    axes[1] = axes[1][(depth > distance) & (depth < distance + 0.5)]
    coordinates = torch.cartesian_prod(*axes)
    grid = NestedGrid.build(boxes, torch.zeros(len(coordinates), dtype=torch.int64), coordinates)
    return Cells(grid, opaque_values(grid, (-9.0, 9.0, -9.0)))


def street(*things: Thing, distance: float = 20.0) -> SceneField:
    """A field with a green wall and red things."""
    field = SceneField(wall(distance), 0, Marching(step=0.3))
    add_things(field, (9.0, -9.0, -9.0), *things)
    return field.eval()


def ahead(count: int = 1) -> Rays:
    """Rays along the y axis."""
    origins = torch.zeros(count, 3)
    return Rays.centered(origins, origins + torch.tensor([0.0, 1, 0]))


def at(*times: float) -> Tensor:
    return torch.tensor(times, dtype=torch.float64)


def test_rays_cross_boxes_where_these_are_at_their_time():
    crossing = thing((0.0, flat_pose(0.0, -4, 10, 0)), (1.0, flat_pose(0.0, 4, 10, 0)))
    turned = thing((0.0, flat_pose(math.pi / 2, 0, 30, 0)), (1.0, flat_pose(math.pi / 2, 0, 30, 0)))
    rays = ahead(4)
    found = moving(crossing, turned).crossings(rays.origins, rays.directions, at(0.5, 0.0, 0.9, 7.0))
    assert found.rays.tolist() == [0, 0, 1, 2] and found.ranks.tolist() == [0, 1, 0, 0]
    expected = torch.tensor([[8.0, 12], [29, 31], [29, 31], [29, 31]])
    torch.testing.assert_close(found.spans, expected, atol=1e-5, rtol=0)


def test_crossings_equal_a_plain_version():
    generator = np.random.default_rng(3)
    things = [
        thing(*((t, flat_pose(*(generator.normal(size=4) * [2, 5, 5, 0.5]))) for t in (0.0, 0.5, 1.5)))
        for _ in range(7)
    ]
    cells = moving(*things)
    directions = F.normalize(torch.from_numpy(generator.normal(size=(60, 3))), dim=1)
    origins = torch.from_numpy(generator.normal(size=(60, 3)) * 3)
    times = torch.from_numpy(generator.choice([0.0, 0.2, 0.5, 1.1, 9.0], 60))
    found = cells.crossings(origins, directions, times)
    expected = []
    for ray in range(60):
        spans = []
        for one in things:
            matrix = one.pose_at(float(times[ray]))
            if matrix is None:
                continue
            o, d = np.linalg.inv(matrix) @ [*origins[ray].numpy(), 1], matrix[:3, :3].T @ directions[ray].numpy()
            ends = np.sort([(one.lower - o[:3]) / d, (one.upper - o[:3]) / d], axis=0)
            enter, leave = max(ends[0].max(), 0), ends[1].min()
            if leave > enter:
                spans.append((enter, leave))
        expected += [(ray, rank, *span) for rank, span in enumerate(sorted(spans))]
    assert len(expected) > 10 and max(e[1] for e in expected) > 0
    assert list(zip(found.rays.tolist(), found.ranks.tolist(), strict=True)) == [e[:2] for e in expected]
    torch.testing.assert_close(found.spans, torch.tensor([e[2:] for e in expected]).double(), rtol=1e-4, atol=1e-4)


def test_a_thing_hides_what_stands_behind_it_and_is_hidden_by_what_stands_before_it():
    near, far = (thing((0.0, flat_pose(0.0, 0, y, 0)), (1.0, flat_pose(0.0, 6, y, 0))) for y in (10.0, 40.0))
    seen = street(near, far).march(ahead(2), at(0.0, 1.0))
    torch.testing.assert_close(seen.color, torch.eye(3)[:2], atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.distance, torch.tensor([8.0, 20.0]), atol=0.4, rtol=0)
    torch.testing.assert_close(seen.moving, torch.tensor([1.0, 0]), atol=1e-3, rtol=0)
    assert (seen.transmittance < 1e-3).all()


def test_what_stands_in_a_box_is_seen_past_the_thing():
    """The box of a thing goes through the wall, but its cells have no density."""
    field = street(thing((0.0, flat_pose(0.0, 0, 20.5, 0))))
    with torch.no_grad():
        field.moving.cells.values[:, 0] = TRANSPARENT
    seen = field.march(ahead(), at(0.0))
    torch.testing.assert_close(seen.color, torch.eye(3)[1:2], atol=1e-3, rtol=0)
    assert seen.moving < 1e-3 and (seen.distance - 20).abs() < 0.4


def test_layers_equal_one_grid_with_everything():
    """Half transparent things at rest look as the same values in the grid of what stands."""
    generator = torch.Generator().manual_seed(0)
    field = street(thing((0.0, flat_pose(0.0, 0.4, 10.0, 0.4))), distance=15.0).double()
    cells = field.moving.cells
    values = torch.randn(cells.values.shape, generator=generator, dtype=torch.float64)
    values[:, 0] = -1.0
    cells.replace(cells.grid.to(torch.float64), values)
    field.cells.grid = field.cells.grid.to(torch.float64)
    directions = torch.randn(200, 3, generator=generator, dtype=torch.float64) * 0.05 + torch.tensor([0.0, 1, 0])
    origins = torch.zeros_like(directions)
    rays = Rays.centered(origins, F.normalize(directions, dim=1))
    limits = torch.tensor([10.0, 14.0], dtype=torch.float64).expand(200, 2)
    rays = Rays.whole(rays.origins, rays.directions, rays.jitter, limits)
    seen = field.march(rays, torch.zeros(200, dtype=torch.float64))
    found = field.moving.crossings(rays.origins, rays.directions, torch.zeros(200, dtype=torch.float64))
    assert 50 < len(found.rays) < 200
    for ray, span, origin, direction in zip(found.rays, found.spans, found.origins, found.directions, strict=True):
        part = Rays(origin[None], direction[None], rays.jitter[:1], limits[:1], span[None])
        front = cells.march(part, field.settings)
        one = rays.map(lambda x, ray=ray: x[ray : ray + 1])
        behind = field.cells.march(replace(one, spans=torch.stack([span[:1], one.spans[0, 1:]], 1)), field.settings)
        passed = front.transmittance
        torch.testing.assert_close(seen.color[ray], (front.color + passed * behind.color)[0])
        torch.testing.assert_close(seen.distance[ray], (front.distance + passed * behind.distance)[0])
        torch.testing.assert_close(seen.transmittance[ray], (passed * behind.transmittance)[0])
        torch.testing.assert_close(seen.before[ray], (front.before * behind.before)[0])
        torch.testing.assert_close(seen.moving[ray], (1 - passed)[0])


def test_gradients_reach_both_kinds_of_cells():
    field = street(thing((0.0, flat_pose(0.0, 0, 10, 0))), thing((0.0, flat_pose(0.5, 0.3, 14, 0)))).train()
    with torch.no_grad():
        field.moving.cells.values[:, 0] = -1.0
    loss = field.march(ahead(), at(0.0)).color.sum()
    parts = (field.moving.cells.values, field.cells.values)
    gradients = torch.autograd.grad(loss, parts)
    for values, gradient in zip(parts, gradients, strict=True):
        vertex = int(gradient[:, 0].abs().argmax())
        differences = []
        for sign in (1, -1):
            with torch.no_grad():
                values[vertex, 0] += sign * 1e-2
                differences.append(float(field.march(ahead(), at(0.0)).color.sum()))
                values[vertex, 0] -= sign * 1e-2
        expected = (differences[0] - differences[1]) / 2e-2
        # Single precision, and a wall that lets nothing through has nearly no gradient.
        assert abs(float(gradient[vertex, 0]) - expected) < max(0.05 * abs(expected), 1e-4)
    assert (field.moving.cells.largest > 0).any() and (field.cells.largest > 0).any()


def test_cells_begin_and_stay_around_points():
    one = moving(thing((0.0, flat_pose(0.0, 0, 10, 0)), half=(1.0, 2.0, 0.8)), size=0.8)
    before = len(one.cells)
    points = one._points
    for _ in range(2):
        one.cells.largest = torch.ones(len(one.cells))
        one.divide(0.5)
    assert before < len(one.cells) < 64 * before
    distance = torch.cdist(one.cells.grid.centers, points).amin(1)
    assert distance.max() < 0.4 + 0.2 and float(one.cells.grid.boxes.sizes[0]) == pytest.approx(0.2)
    found, _ = one.cells.grid.find(torch.zeros(len(points), dtype=torch.int64), points / 0.2)
    assert (found >= 0).all()


def test_boxes_on_the_shelf_do_not_touch():
    things = [thing((0.0, flat_pose(0.0, 0, 10, 0)), half=(1.0, 2.0 + k, 0.8)) for k in range(6)]
    cells = moving(*things, size=0.4)
    lower = cells._corners
    upper = lower + torch.tensor(np.array([one.upper - one.lower for one in things])).float()
    for i in range(6):
        for j in range(i):
            assert ((lower[i] > upper[j] + 0.39) | (lower[j] > upper[i] + 0.39)).any()
    # The same point of all is in a cell of its own, and no cell has vertices of two things.
    where = cells.cells.grid.centers
    inside = ((where[:, None] > lower - 0.41) & (where[:, None] < upper + 0.41)).all(-1)
    assert (inside.sum(1) == 1).all()


def test_a_checkpoint_brings_its_things():
    saved, other = (
        street(thing((0.0, flat_pose(0.0, 0, 10, 0)), (1.0, flat_pose(0.3, 5, 10, 0)))),
        SceneField(Cells.empty(), 0, Marching(step=0.3)),
    )
    other.load_state_dict(saved.state_dict())
    rays, times = ahead(3), at(0.0, 0.2, 0.9)
    assert torch.equal(other.eval().march(rays, times).color, saved.march(rays, times).color)
    assert len(other.moving) == 1


def test_without_things_nothing_moves():
    field = street()
    seen = field.march(ahead(2), at(0.0, 5.0))
    assert (seen.moving == 0).all() and (seen.distance - 20).abs().max() < 0.4
    assert field.march(ahead(0), at()).color.shape == (0, 3)
