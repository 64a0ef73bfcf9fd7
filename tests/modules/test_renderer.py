"""Rendering against the published look-ups, and against a slow version with dense per-sample features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.modules.heads import ColorHead, FeatureHead
from projects.DistillNeRF.modules.renderer import (
    Hits,
    RayRendering,
    RaySampling,
    VoxelTables,
    gather_rows,
    merge_order,
    place_coarse_samples,
    place_samples,
    render_rays,
    rows_along,
)
from projects.DistillNeRF.modules.voxels import VoxelGrid, point_codes
from verification.reference import kernels as reference

LEVELS = (3, 4)
CHANNELS = 3
FAR = 12.0
SPACE = ParameterizedSpace(inner_range=8, inner_range_z=4, contract_ratio=0.8, near=0.2, step=0.5, far=FAR)
SAMPLING = RaySampling(fine_samples=6, fine_step=0.15)
HEADS = {'color': ColorHead, 'feature': FeatureHead}


def random_scene(count: int) -> tuple[VoxelGrid, Tensor, Tensor]:
    """A grid with the cells of ``count`` points in the middle of the cube, and its voxels as float64 leaves."""
    generator = torch.Generator().manual_seed(11)
    points = torch.rand(count, 3, dtype=torch.float64, generator=generator) * 1.6 - 0.8
    grid, _ = VoxelGrid.build(point_codes(points, LEVELS[1]), *LEVELS)
    voxels = []
    for cells in (grid.num_coarse, grid.num_fine):
        table = torch.randn(cells, CHANNELS + 1, dtype=torch.float64, generator=generator)
        table[:, -1] = table[:, -1] * 3
        voxels.append(table.requires_grad_())
    return grid, *voxels


def random_rays(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(13)
    origins = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    directions = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    return origins, torch.nn.functional.normalize(directions, dim=-1)


def head_of(kind: str) -> ColorHead | FeatureHead:
    torch.manual_seed(17)
    settings = {'color': {'width': 32}, 'feature': {'out_channels': 5, 'bound': 2.0}}[kind]
    return HEADS[kind](CHANNELS, **settings).double()


def render(
    scene: tuple[VoxelGrid, Tensor, Tensor], head: ColorHead | FeatureHead, quirks: bool, rays: int
) -> RayRendering:
    tables = VoxelTables.build(*scene, SAMPLING.logit_bound, quirks)
    sampling = replace(SAMPLING, published_quirks=quirks)
    return render_rays(tables, SPACE, sampling, head.compositor(tables), *random_rays(rays))


def reference_reader(
    scene: tuple[VoxelGrid, Tensor, Tensor], head: ColorHead | FeatureHead, quirks: bool
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Colors and clamped density logits at world points (docs/NETWORK.md#voxel-look-up)."""
    grid, *tables = scene
    cells = [{tuple(cell): i for i, cell in enumerate(grid.cells(level).tolist())} for level in LEVELS]

    def read_points(points: Tensor) -> tuple[Tensor, Tensor]:
        inside = SPACE.contract(points)
        (coarse, in_coarse), (fine, in_fine) = (
            reference.look_up(inside, c, table, level, quirks)
            for c, table, level in zip(cells, tables, LEVELS, strict=True)
        )
        empty = torch.full_like(coarse[..., -1], -30.0)
        logits = torch.where(in_fine, fine[..., -1], torch.where(in_coarse, coarse[..., -1], empty))
        clamped = 10 * torch.tanh(logits / 10)
        logits = clamped if quirks else torch.where(in_fine | in_coarse, clamped, empty)
        features = torch.cat([fine[..., :-1], coarse[..., :-1]], -1)
        if isinstance(head, FeatureHead):
            return head.bound * torch.tanh(head.net(features) / head.bound), logits
        return torch.cat([features, torch.zeros_like(logits[..., None])], -1), logits

    return read_points


@pytest.mark.parametrize('kind', ['color', 'feature'])
@pytest.mark.parametrize('quirks', [True, False])
@pytest.mark.parametrize('count', [0, 1, 60])
def test_values_and_gradients_equal_the_reference(kind, quirks, count, dtype):
    scene, head, rays = random_scene(count), head_of(kind), 7
    ours = render(scene, head, quirks, rays)
    edges = SPACE.bin_edges(torch.empty((), dtype=dtype))
    composite, depth, weights, depths = reference.render(
        reference_reader(scene, head, quirks),
        edges,
        *random_rays(rays),
        FAR,
        SAMPLING.fine_samples,
        SAMPLING.fine_step,
        quirks,
        background=head._outputs(torch.zeros(2 * CHANNELS, dtype=dtype)) if kind == 'feature' and not quirks else None,
    )
    if count == 60:
        assert (weights.sum(1) > 0.5).any(), 'the rays miss the scene: the test shows nothing'
    torch.testing.assert_close(ours.depths, depths)
    torch.testing.assert_close(ours.weights, weights)
    torch.testing.assert_close(ours.opacity, weights.sum(1))
    torch.testing.assert_close(ours.depth, depth)
    torch.testing.assert_close(ours.composite, composite)

    leaves = [*scene[1:], *(head.net.parameters() if kind == 'feature' else ())]
    generator = torch.Generator().manual_seed(19)
    cotangents = [torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in (composite, depth)]
    gradients = [
        torch.autograd.grad(outputs, leaves, cotangents, materialize_grads=True, allow_unused=True)
        for outputs in ((ours.composite, ours.depth), (composite, depth))
        if any(x.requires_grad for x in outputs)
    ]
    if len(gradients) == 2:
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    for gradient in gradients[0]:
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(('quirks', 'logit'), [(True, 10 * math.tanh(-3)), (False, -30.0)])
def test_empty_space_is_clear_without_the_quirk(quirks, logit):
    tables = VoxelTables.build(*random_scene(60), 10.0, quirks)
    assert tables.logits[-1].item() == pytest.approx(logit)


def test_without_the_quirk_the_first_cell_is_read():
    grid, coarse, fine = random_scene(60)
    first = grid.centers(4)[:1]
    for quirks, expected in ((True, 0.0), (False, 10 * torch.tanh(fine[0, -1] / 10).item())):
        tables = VoxelTables.build(grid, coarse, fine, 10.0, quirks)
        assert gather_rows(tables.logits, grid.rows(first)).item() == pytest.approx(expected)


@pytest.mark.parametrize(('quirks', 'first'), [(True, 5.45 - 0.45), (False, 5.7 - 0.375)])
def test_fine_samples_gather_around_the_heaviest_interval(quirks, first, dtype):
    """A wall from x = 5 m on, coarse samples at 0.45, 0.95, ...: the heaviest interval is 5.45 to 5.95."""
    grid, _ = VoxelGrid.build(point_codes(SPACE.contract(torch.tensor([[5.1, 0.1, 0.1]]).double()), 4), *LEVELS)
    voxels = torch.full((1, CHANNELS + 1), 8.0, dtype=dtype)
    tables = VoxelTables.build(grid, voxels, voxels, 10.0, published_quirks=False)
    origin, direction = torch.tensor([[0.0, 0.1, 0.1]]).double(), torch.tensor([[1.0, 0, 0]]).double()
    sampling = replace(SAMPLING, published_quirks=quirks)
    depths, rows = place_samples(tables, SPACE, sampling, origin, direction, jitter=False)
    edges = SPACE.bin_edges(depths)
    coarse = (edges[1:] + edges[:-1]) / 2
    fine = first + 0.15 * torch.arange(6, dtype=dtype)
    torch.testing.assert_close(depths[0], torch.cat([coarse, fine]).sort().values)
    in_fine_cell = (depths[0] >= 5) & (depths[0] < 6.25)
    assert (rows[0][in_fine_cell] == 0).all()
    assert (rows[0][depths[0] < 5] == grid.empty_row).all()


@pytest.mark.parametrize(('quirks', 'least'), [(True, 0), (False, -0.5)])
def test_jitter_moves_samples_by_less_than_a_bin_and_keeps_them_sorted(quirks, least):
    scene = random_scene(60)
    tables = VoxelTables.build(*scene, 10.0, published_quirks=False)
    no_fine = RaySampling(fine_samples=0, published_quirks=quirks)
    rays = random_rays(50)
    mids, _ = place_samples(tables, SPACE, no_fine, *rays, jitter=False)
    torch.manual_seed(0)
    depths, rows = place_samples(tables, SPACE, no_fine, *rays, jitter=True)
    assert (depths.diff(dim=1) >= 0).all()
    assert depths.shape == mids.shape
    # As published: from the middle of the bin on, by up to one bin; else within the bin.
    offset = (depths - mids) / SPACE.bin_edges(mids).diff()
    assert offset.min() >= least
    assert offset.mean().item() == pytest.approx(least + 0.5, abs=0.05)
    positions = rays[0][:, None] + depths[..., None] * rays[1][:, None]
    assert torch.equal(rows, scene[0].rows(SPACE.contract(positions)))


@pytest.mark.parametrize('shape', [(1, 1), (5, 3), (3, 5), (4, 0), (286, 30)])
def test_merging_sorts_two_ascending_sequences(shape):
    generator = torch.Generator().manual_seed(0)
    # Small integers: ties within and between the sequences.
    first, second = (torch.randint(0, 9, (20, n), generator=generator).float().sort(dim=1).values for n in shape)
    order = merge_order(first, second)
    together = torch.cat([first, second], 1)
    assert torch.equal(order.sort(dim=1).values, torch.arange(sum(shape)).expand(20, -1))
    assert torch.equal(together.gather(1, order), together.sort(dim=1).values)


def test_no_rays():
    scene, head = random_scene(60), head_of('color')
    rendering = render(scene, head, quirks=False, rays=0)
    assert rendering.composite.shape == (0, 2 * CHANNELS + 1)
    assert rendering.depth.shape == (0,)


@pytest.mark.parametrize('quirks', [True, False])
@pytest.mark.parametrize(('wall', 'end'), [(0.3, 0.0), (11.5, FAR)])
def test_fine_samples_stay_between_the_camera_and_the_far_plane(quirks, wall, end, dtype):
    """A wall so near or so far that fine samples would lie behind the camera or beyond the far plane."""
    point = torch.tensor([[wall, 0.1, 0.1]]).double()
    grid, _ = VoxelGrid.build(point_codes(SPACE.contract(point), 4), *LEVELS)
    voxels = torch.full((1, CHANNELS + 1), 8.0, dtype=dtype)
    tables = VoxelTables.build(grid, voxels, voxels, 10.0, published_quirks=False)
    origin, direction = torch.tensor([[0.0, 0.1, 0.1]]).double(), torch.tensor([[1.0, 0, 0]]).double()
    sampling = replace(SAMPLING, published_quirks=quirks, fine_samples=9, fine_step=2.0)
    depths, _ = place_samples(tables, SPACE, sampling, origin, direction, jitter=False)
    edges = SPACE.bin_edges(depths)
    coarse = (edges[1:] + edges[:-1]) / 2
    assert len(depths[0]) == len(coarse) + 9
    assert depths.min() >= 0 and depths.max() <= FAR
    assert (depths[0] == end).sum() >= 2


def test_a_stride_makes_every_bin_of_coarse_samples_wider(dtype):
    scene = random_scene(60)
    tables = VoxelTables.build(*scene, 10.0, published_quirks=False)
    origins, directions = random_rays(3)
    depths, rows = place_coarse_samples(tables, SPACE, replace(SAMPLING, stride=4), origins, directions)
    # Bins of 2 m from 0.2 m to 8 m, then of 0.2 in s from 0.8 to s(12) = 0.867: none is whole.
    expected = torch.tensor([1.2, 3.2, 5.2, 7.1], dtype=dtype)
    torch.testing.assert_close(depths, expected.expand(3, -1))
    points = origins[:, None] + expected[:, None] * directions[:, None]
    assert torch.equal(rows, scene[0].rows(SPACE.contract(points)))
    # Half a bin: 2 samples where there was one.
    finer, _ = place_coarse_samples(tables, SPACE, replace(SAMPLING, stride=0.5), origins, directions)
    usual, _ = place_coarse_samples(tables, SPACE, SAMPLING, origins, directions)
    torch.testing.assert_close(finer[:, :6].unflatten(1, (3, 2)).mean(2), usual[:, :3])


def test_rows_along_rays_in_many_pieces_are_the_same(monkeypatch, dtype):
    grid, *_ = random_scene(60)
    rays, depths = random_rays(7), torch.linspace(0.5, 11, 5, dtype=dtype).expand(7, -1)
    whole = rows_along(grid, SPACE, *rays, depths)
    monkeypatch.setattr('projects.DistillNeRF.modules.renderer.CPU_CHUNK_SAMPLES', 10)
    assert torch.equal(rows_along(grid, SPACE, *rays, depths), whole)
    points = rays[0][:, None] + depths[..., None] * rays[1][:, None]
    assert torch.equal(whole, grid.rows(SPACE.contract(points)))


@pytest.mark.parametrize('quirks', [True, False])
def test_tables_by_hand(quirks):
    """The first cell of each level reads as zero with the quirk; logits are clamped softly at 2."""
    grid, _ = VoxelGrid.build(torch.tensor([0, 7, 63], dtype=torch.int32), 1, 2)
    fine = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    coarse = torch.tensor([[10.0, 20, -30], [40, 50, 1]])
    tables = VoxelTables.build(grid, coarse, fine, 2.0, quirks)
    first = 0.0 if quirks else 1.0
    logits = [first * 3, 6, 9, first * -30, 1]
    expected = [2 * math.tanh(x / 2) for x in logits] + [2 * math.tanh(-15) if quirks else -30.0]
    torch.testing.assert_close(tables.logits, torch.tensor(expected))
    assert tables.fine.tolist() == [[first, 2 * first], [4, 5], [7, 8]]
    assert tables.coarse.tolist() == [[10 * first, 20 * first], [40, 50]]


def test_usual_sampling_is_the_published_one_without_its_quirks():
    assert RaySampling() == RaySampling(1, 30, 0.1, 'exp', 10.0, False)


def test_a_composite_is_twice_the_color_less_one():
    """Two samples of weights w1, w2, w3 between four depths: a sample counts half in each of its two intervals."""
    scene = random_scene(60)
    tables = VoxelTables.build(*scene, 10.0, published_quirks=False)
    seen = []

    def composite(rows: Tensor, weights: Tensor) -> Tensor:
        seen.append(weights)
        return weights[:, :2]

    rendering = render_rays(tables, SPACE, SAMPLING, composite, *random_rays(5))
    w = rendering.weights
    torch.testing.assert_close(seen[0][:, 0], w[:, 0] / 2)
    torch.testing.assert_close(seen[0][:, 1:-1], (w[:, :-1] + w[:, 1:]) / 2)
    torch.testing.assert_close(seen[0][:, -1], w[:, -1] / 2)
    torch.testing.assert_close(rendering.composite, 2 * seen[0][:, :2] - 1)
    middle = (rendering.depths[:, 1:] + rendering.depths[:, :-1]) / 2
    torch.testing.assert_close(rendering.depth, ((w * middle).sum(1) / (w.sum(1) + 1e-10)).clamp(1e-5, FAR))
    torch.testing.assert_close(rendering.opacity, w.sum(1))


def test_empty_space_gets_no_gradient_of_what_is_read_there(dtype):
    """Most samples hit nothing: all their gradients would be added into one place."""
    values = torch.tensor([1.0, 2.0, 5.0], dtype=dtype, requires_grad=True)
    rows = torch.tensor([[0, 2, 2, 1], [2, 2, 2, 0]], dtype=torch.int32)
    read = Hits.find(rows, 2).read(values)
    assert torch.equal(read, values[rows.long()])
    assert torch.autograd.grad(read.sum(), values)[0].tolist() == [2, 1, 0]


def test_a_thin_wall_between_samples_is_found_by_mean_density(dtype):
    """A cell of .6 m on the way of samples 1 m apart: one of them lies in it."""
    space = replace(SPACE, step=1.0)
    origins, directions = torch.zeros(1, 3, dtype=dtype), torch.tensor([[1.0, 0, 0]], dtype=dtype)
    # Samples are at .7, 1.7, 2.7, ..., the cell from 2.5 to 3.125 m.
    point = space.contract(torch.tensor([[2.7, 0.01, 0.01]], dtype=dtype))
    grid, _ = VoxelGrid.build(point_codes(point, 5), 5, 5)
    voxels = torch.full((1, CHANNELS + 1), 8.0, dtype=dtype)
    opacities = {}
    for mean_density in (False, True):
        sampling = RaySampling(fine_samples=1, fine_step=0.1, mean_density=mean_density)
        tables = VoxelTables.build(grid, voxels, voxels, sampling.logit_bound, published_quirks=False)
        rendering = render_rays(tables, space, sampling, lambda hits, weights: weights, origins, directions)
        opacities[mean_density] = rendering.opacity.item()
    assert opacities[True] > 0.99 > 0.01 > opacities[False]
