"""Rays through a nested grid: the numba kernels against plain torch, and both against what is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.scene_nerf import march_kernels, marching
from projects.DistillNeRF.scene_nerf.marching import CHANNELS, Marching, Rays, box_spans
from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes, NestedGrid

BOXES = NestedBoxes.around(torch.zeros(1, 3), 0.5, 3, (6.0, 2.0, 4.0), coarsest=0.5)


def random_grid(count: int, seed: int = 0) -> tuple[NestedGrid, Tensor]:
    """Random cells of three boxes, and random values of their vertices, float64."""
    generator = torch.Generator().manual_seed(seed)
    boxes = BOXES.to(torch.float64)
    levels, coordinates = [], []
    for level in range(boxes.levels):
        cells = (torch.rand(count, 3, generator=generator) * 8 * boxes.blocks[level]).long().unique(dim=0)
        levels.append(torch.full((len(cells),), level))
        coordinates.append(cells)
    grid = NestedGrid.build(boxes, torch.cat(levels), torch.cat(coordinates))
    values = torch.randn(grid.num_vertices, CHANNELS, generator=generator, dtype=torch.float64)
    return grid, values.requires_grad_()


def random_rays(count: int, spread: float, seed: int = 1) -> Rays:
    """Rays from points around the middle; two along axes; some limits are inside the boxes, and half begin and end."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(count, 3, generator=generator, dtype=torch.float64) * spread
    directions = F.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=1)
    directions[:2] = torch.eye(3, dtype=torch.float64)[: min(2, count)]
    limits = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 20
    rays = Rays.whole(origins, directions, torch.rand(count, generator=generator, dtype=torch.float64), limits)
    spans = (torch.rand(count, 2, generator=generator, dtype=torch.float64) * 12).cumsum(1)
    spans[::2] = rays.spans[::2]
    # One ends before it begins, one behind all boxes.
    spans[-2:] = spans.new_tensor([[5.0, 4.0], [300.0, 400.0]])[: min(2, count)]
    return replace(rays, spans=spans)


def both(grid: NestedGrid, values: Tensor, rays: Rays, settings: Marching) -> list[tuple[Tensor, ...]]:
    """Outputs and gradients of both ways."""
    results = []
    for module in (march_kernels, marching):
        outputs = module.composite(grid, values, rays, settings)
        parts = [outputs.color, outputs.distance, outputs.transmittance, outputs.before]
        generator = torch.Generator().manual_seed(5)
        cotangents = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in parts]
        results.append((*parts, *torch.autograd.grad(parts, values, cotangents)))
    return results


@pytest.mark.parametrize('count', [0, 1, 3000])
@pytest.mark.parametrize(('spread', 'step'), [(1.0, 0.7), (20.0, 0.33)])
def test_kernels_equal_plain_torch(count, spread, step):
    grid, values = random_grid(count)
    rays = random_rays(200, spread)
    ours, theirs = both(grid, values, rays, Marching(step=step))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    if count > 1:
        assert ours[0].max() > 0.1 and (ours[2] < 0.9).any() and ours[-1].abs().max() > 0.01


@pytest.mark.parametrize('count', [1, 12])
def test_wide_empty_space(count):
    """Rays pass many empty blocks at once, and miss none of the few cells."""
    generator = torch.Generator().manual_seed(count)
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.1, 2, (6.0, 2.0, 4.0), coarsest=0.1).to(torch.float64)
    levels = torch.arange(count) % 2
    grid = NestedGrid.build(
        boxes, levels, (torch.rand(count, 3, generator=generator) * 8 * boxes.blocks[levels]).long()
    )
    values = torch.randn(grid.num_vertices, CHANNELS, generator=generator, dtype=torch.float64).requires_grad_()
    rays = random_rays(400, spread=3.0)
    aimed = grid.centers.repeat(400 // count + 1, 1)[:400] - rays.origins
    rays = replace(rays, directions=F.normalize(aimed + 0.02 * torch.randn(400, 3, generator=generator), dim=1))
    fast, slow = both(grid, values, rays, Marching(step=0.7))
    assert grid.blocks.min() < -3 and (slow[2] < 1).sum() > 100
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('rays', [0, 1])
def test_few_rays(rays):
    grid, values = random_grid(500)
    ours, theirs = both(grid, values, random_rays(rays, 1.0), Marching())
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_gradients_equal_differences():
    grid, values = random_grid(400)
    rays = random_rays(20, 0.5)

    def loss(x: Tensor) -> Tensor:
        outputs = march_kernels.composite(grid, x, rays, Marching(stop=0.0))
        return (outputs.color.sum(1) + outputs.distance + 2 * outputs.transmittance + 3 * outputs.before.sum(1)).sum()

    (gradient,) = torch.autograd.grad(loss(values), values)
    for vertex, channel in ((gradient[:, 0].abs().argmax(), 0), (gradient[:, 2].abs().argmax(), 2)):
        step = torch.zeros_like(values)
        step[vertex, channel] = 1e-5
        with torch.no_grad():
            difference = (loss(values + step) - loss(values - step)) / 2e-5
        assert gradient[vertex, channel].abs() > 1e-3
        torch.testing.assert_close(gradient[vertex, channel], difference, rtol=1e-6, atol=1e-8)


def test_a_wall_of_known_density():
    """Cells from 2 to 3 m, density 1 per cell of 0.5 m: what passes is exp(-2), and the color is that of the cells."""
    boxes = BOXES.to(torch.float64)
    inside = torch.cartesian_prod(*(torch.arange(int(n) * 8) for n in boxes.blocks[0]))
    centers = boxes.lower[0] + (inside + 0.5) * 0.5
    wall = (centers[:, 0] > 2) & (centers[:, 0] < 3)
    grid = NestedGrid.build(boxes, torch.zeros(int(wall.sum()), dtype=torch.int64), inside[wall])
    values = torch.zeros(grid.num_vertices, CHANNELS, dtype=torch.float64)
    values[:, 0] = math.log(math.e - 1) / marching.DENSITY_GAIN  # softplus of it is 1
    values[:, 1:4] = torch.tensor([1.0, -1.0, 0.0])
    values[:, 4] = 0.5 / marching.VIEW_GAIN  # red grows with x
    origin = torch.zeros(1, 3, dtype=torch.float64)
    rays = Rays.whole(
        origin, origin + torch.tensor([1.0, 0, 0]), torch.full((1,), 0.5).double(), torch.tensor([[2.5, 9.0]]).double()
    )
    for module in (march_kernels, marching):
        seen = module.composite(grid, values, rays, Marching(step=0.01, near=0.0))
        passed = math.exp(-2)
        torch.testing.assert_close(seen.transmittance, torch.tensor([passed], dtype=torch.float64), rtol=1e-9, atol=0)
        torch.testing.assert_close(
            seen.before, torch.tensor([[math.exp(-1), passed]], dtype=torch.float64), rtol=0.02, atol=0
        )
        color = torch.sigmoid(torch.tensor([[1.5, -1.0, 0.0]], dtype=torch.float64)) * (1 - passed)
        torch.testing.assert_close(seen.color, color, rtol=1e-9, atol=1e-9)
        # Mean of x under 2 exp(-2 x) on 0 to 1, from the integral.
        exact = 2 * (1 - passed) + 0.5 * (1 - 3 * passed)
        torch.testing.assert_close(seen.distance, torch.tensor([exact], dtype=torch.float64), rtol=1e-4, atol=0)


def test_single_precision_is_nearly_the_same():
    grid, values = random_grid(3000)
    rays = random_rays(300, 1.0)
    exact = march_kernels.composite(grid, values, rays, Marching())
    single = march_kernels.composite(
        grid.to(torch.float32), values.detach().float(), rays.to(torch.float32), Marching()
    )
    # A sample at the border of a cell may be found on its other side, where there may be nothing.
    errors = (single.color - exact.color).abs().amax(1)
    assert errors.median() < 1e-5 and errors.mean() < 1e-2


def test_spans_of_boxes_are_nested():
    rays = random_rays(500, 15.0)
    enter, leave = box_spans(BOXES.to(torch.float64), rays, near=0.1)
    first, last = rays.spans[:, None].unbind(-1)
    assert (enter >= first).all() and ((leave <= last) | (leave == enter)).all()
    assert (enter <= leave).all() and (enter >= 0.1).all()
    assert (enter[:, :-1] >= enter[:, 1:]).all() and (leave[:, :-1] <= leave[:, 1:]).all()


def test_the_largest_weight_of_each_cell_is_noted():
    grid, values = random_grid(2000)
    rays = random_rays(100, 1.0)
    noted = []
    for module in (march_kernels, marching):
        noted.append(torch.full((len(grid),), 1e-3, dtype=torch.float64))
        module.composite(grid, values, rays, Marching(), noted[-1])
    torch.testing.assert_close(*noted, rtol=1e-9, atol=1e-12)
    assert noted[0].min() == 1e-3 and 0.05 < noted[0].max() <= 1


def test_parts_of_rays_make_up_the_whole():
    """What passes the first part of a ray times what passes the second is what passes both; colors add up."""
    grid, values = random_grid(3000)
    whole = replace(random_rays(300, 1.0), spans=torch.tensor([0.0, torch.inf]).double().expand(300, 2))
    middle = torch.rand(300, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 10
    parts = [torch.stack(ends, 1) for ends in ((0 * middle, middle), (middle, middle + torch.inf))]
    # Samples lie elsewhere in the parts: dense ones hardly differ.
    settings = Marching(step=0.02, stop=0.0)
    first, second, both = (
        march_kernels.composite(grid, values, replace(whole, spans=spans), settings) for spans in (*parts, whole.spans)
    )
    torch.testing.assert_close(first.transmittance * second.transmittance, both.transmittance, rtol=0.05, atol=0.01)
    color = first.color + first.transmittance[:, None] * second.color
    torch.testing.assert_close(color, both.color, rtol=0.05, atol=0.02)
    assert (first.transmittance < 0.9).any() and (second.transmittance < 0.9).any()


def test_gradients_do_not_depend_on_the_steps_before():
    """Tables of gradients are kept; what other rays and another grid left in them must not show."""
    grid, values = random_grid(2000)
    other_grid, other_values = random_grid(300, seed=3)

    def gradient(grid: NestedGrid, values: Tensor, seed: int) -> Tensor:
        seen = march_kernels.composite(grid, values, random_rays(150, 2.0, seed), Marching())
        return torch.autograd.grad(seen.color.sum() + seen.transmittance.sum(), values)[0]

    first, second = gradient(grid, values, 1), gradient(grid, values, 2)
    gradient(other_grid, other_values, 1)
    assert torch.equal(gradient(grid, values, 1), first)
    assert torch.equal(gradient(grid, values, 2), second)
    assert not torch.equal(first, second)
