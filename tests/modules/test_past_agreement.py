"""Which points of the past are believed: a wall that stands, a box that is gone, what nobody sees now."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import NEAREST, Cameras
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.modules.past_agreement import MAX_LOG, PastAgreement, believed, sees_through
from projects.DistillNeRF.modules.pooling import LEAST_VOTE, candidate_positions, pool_points, pool_views
from projects.DistillNeRF.modules.voxels import point_codes
from tests.helpers.cameras import level_cameras, random_cameras
from tests.modules.test_pooling import random_fine_depth, rig
from verification.reference import kernels as reference

WALL = 10.0


def wall_distances(cameras: Cameras) -> Tensor:
    """Return how far a wall at y = 10 m is along the rays of cameras that look at it, ``(V, H, W)``."""
    origins, directions = cameras.rays(cameras.height, cameras.width)
    return (WALL - origins[:, None, None, 1]) / directions[..., 1]


@pytest.fixture(scope='module')
def now() -> Cameras:
    return level_cameras((0.0, 20.0), 12, 20).to(torch.float64)


def test_points_are_believed_unless_the_cameras_see_through_them(now):
    points = {
        'on the wall': (0.3, 10.0, 0.2),
        'on the wall, estimated 5 % too near': (0.285, 9.5, 0.19),
        'behind the wall': (1.0, 15.0, 0.3),
        'on a box that is gone': (0.1, 5.0, 0.0),
        'on one that has come 2 m nearer since': (0.1, 8.0, 0.0),
        'behind the cameras': (0.0, -4.0, 0.0),
        'below the images': (0.0, 1.0, -3.0),
    }
    belief = PastAgreement().double()(
        torch.tensor(list(points.values()), dtype=torch.float64), now, wall_distances(now)
    )
    found = dict(zip(points, belief.tolist(), strict=True))
    assert found['on the wall'] > 0.98 and found['on the wall, estimated 5 % too near'] > 0.9
    assert found['behind the wall'] > 0.999
    assert found['on a box that is gone'] < 1e-6 and found['on one that has come 2 m nearer since'] < 0.1
    assert found['behind the cameras'] == found['below the images'] == 1


def test_one_camera_that_sees_through_a_point_is_enough(now):
    """Others may have something before it."""
    distances = wall_distances(now)
    hidden = torch.stack([distances[0], torch.full_like(distances[0], 2.0)])
    point = torch.tensor([[1.0, 5.0, 0.0]], dtype=torch.float64)
    agreement = PastAgreement().double()
    assert agreement(point, now, torch.full_like(distances, 2.0)) > 0.99
    assert agreement(point, now, hidden) < 1e-6 and agreement(point, now[[1, 0]], hidden.flip(0)) < 1e-6


def test_a_point_at_the_edge_of_something_is_not_before_what_is_behind_that(now):
    """Half of the image is a box at 5 m; a point on it falls between its last column and the wall's first."""
    camera = now[[0]]
    distances = wall_distances(camera)
    along = camera.rays(12, 20)[1]
    distances[0, :, :10] = 5 / along[0, :, :10, 1]
    for column, gone in ((9.2, False), (9.8, False), (10.2, True)):
        ray = torch.tensor([(column - 9.5) / 10, 1.0, -(5 - 5.5) / 10], dtype=torch.float64)
        through, seen = sees_through(5 * ray[None], camera, distances)
        assert seen.all() and (through.item() > 0.5) is gone, column


def loops(points: Tensor, cameras: Cameras, distances: Tensor) -> list[tuple[float, bool]]:
    """Look at every point by every camera, one after the other."""
    height, width = distances.shape[1:]
    found = []
    for point in points:
        best = None
        for matrix, pose, depth in zip(cameras.intrinsics, cameras.cam2world, distances, strict=True):
            local = torch.linalg.inv(pose) @ torch.cat([point, point.new_ones(1)])
            if local[2] <= NEAREST:
                continue
            u, v, _ = (matrix @ local[:3] / local[2]).tolist()
            if not (-0.5 < u < width - 0.5 and -0.5 < v < height - 0.5):
                continue
            around = [
                depth[row, column].item()
                for row in (math.floor(v), math.floor(v) + 1)
                for column in (math.floor(u), math.floor(u) + 1)
                if 0 <= row < height and 0 <= column < width
            ]
            ratio = math.log(max(min(around), NEAREST) / max(local[:3].norm().item(), NEAREST))
            ratio = min(max(ratio, -MAX_LOG), MAX_LOG)
            best = ratio if best is None else max(best, ratio)
        found.append((-MAX_LOG if best is None else best, best is not None))
    return found


def test_values_equal_plain_loops():
    generator = torch.Generator().manual_seed(3)
    cameras = random_cameras(4, 7, 9, generator)
    points = 4 * torch.randn(300, 3, dtype=torch.float64, generator=generator)
    distances = 8 * torch.rand(4, 7, 9, dtype=torch.float64, generator=generator)
    through, seen = sees_through(points, cameras, distances)
    expected = loops(points, cameras, distances)
    assert seen.tolist() == [inside for _, inside in expected] and 30 < seen.sum() < 270
    torch.testing.assert_close(through, torch.tensor([ratio for ratio, _ in expected], dtype=torch.float64))


def test_both_parameters_are_learned_and_positions_are_not(now):
    agreement = PastAgreement(tolerance=0.2, temperature=0.1).double()
    points = torch.tensor(
        [[0.3, y, 0.2] for y in (4.0, 7.0, 8.0, 9.0, 10.0, 14.0)] + [[0, -5.0, 0]], dtype=torch.float64
    )
    distances = wall_distances(now).requires_grad_()
    points.requires_grad_()
    weights = torch.linspace(1, 2, len(points), dtype=torch.float64)
    names = ['log_tolerance', 'log_temperature']
    assert [name for name, _ in agreement.named_parameters()] == names
    loss = (agreement(points, now, distances) * weights).sum()
    gradients = torch.autograd.grad(loss, [*agreement.parameters(), points, distances], allow_unused=True)
    assert gradients[2] is None and gradients[3] is None

    def moved(name: str, step: float) -> float:
        changed = PastAgreement(0.2, 0.1).double()
        with torch.no_grad():
            changed.get_parameter(name).add_(step)
            return (changed(points, now, distances) * weights).sum().item()

    for name, gradient in zip(names, gradients, strict=False):
        difference = (moved(name, 1e-5) - moved(name, -1e-5)) / 2e-5
        assert gradient.item() == pytest.approx(difference, rel=1e-6) and abs(difference) > 1e-3


@pytest.mark.parametrize('change', [{'tolerance': 0.0}, {'temperature': -0.1}])
def test_settings_that_are_none_are_refused(change):
    with pytest.raises(ValueError, match='give both above 0'):
        PastAgreement(**change)


def test_a_point_that_is_believed_by_half_is_occupied_by_half():
    fine = random_fine_depth(1)
    fine = dataclasses.replace(fine, logits=(2 * fine.occupancy - 1) * 30)
    belief = torch.rand(fine.occupancy.numel(), dtype=torch.float64)
    less = believed(fine, belief, 30.0)
    torch.testing.assert_close(less.occupancy, belief.view_as(fine.occupancy) * fine.occupancy)
    torch.testing.assert_close(less.logits, (2 * less.occupancy - 1) * 30)
    assert less.features is fine.features and less.candidates is fine.candidates
    torch.testing.assert_close(believed(fine, torch.ones_like(belief), 30.0).logits, fine.logits)


# Means that are weighted by votes.


@pytest.mark.parametrize('rows', [1, 3])
def test_votes_of_one_are_the_plain_means(rows):
    cameras, fine, space, levels = rig(2), random_fine_depth(2), ParameterizedSpace(), (4, 6)
    ones = torch.ones(fine.candidates.numel(), dtype=torch.float64)
    grid, *pooled = pool_views(cameras, fine, space, *levels, rows)
    voted, *weighted = pool_views(cameras, fine, space, *levels, rows, ones)
    assert torch.equal(voted.fine_codes, grid.fine_codes) and torch.equal(voted.coarse_codes, grid.coarse_codes)
    torch.testing.assert_close(weighted, pooled)


@pytest.mark.parametrize('copied', [False, True])
def test_weighted_means_and_their_gradients_equal_plain_loops(copied, dtype):
    """Point by point; those that hardly count are in no cell, and ``copied`` points only in other coarse cells."""
    cameras, fine, space, (coarse_level, fine_level) = rig(3), random_fine_depth(3), ParameterizedSpace(), (3, 5)
    points = space.contract(candidate_positions(cameras, fine.candidates)).reshape(-1, 3)
    copies = [points + torch.tensor([0.0, 0.0, 0.06], dtype=dtype)] if copied else []
    votes = torch.rand(len(points), dtype=dtype, generator=torch.Generator().manual_seed(2))
    votes[::7] = LEAST_VOTE / 2
    votes.requires_grad_()
    grid, *pooled = pool_points(points, fine, coarse_level, fine_level, copies, votes)

    lifted = reference.lift(fine.features, fine.occupancy, fine.logits)
    half = (lifted.shape[1] - 1) // 2
    for level, voxels, chosen in zip((coarse_level, fine_level), pooled, ((0, half), (half, 2 * half)), strict=True):
        members: dict[int, list[int]] = {}
        own = point_codes(points, level).tolist()
        for number in range(len(points)):
            if votes[number] < LEAST_VOTE:
                continue
            members.setdefault(own[number], []).append(number)
            for copy in copies if level == coarse_level else ():
                if (code := point_codes(copy[number : number + 1], level).item()) != own[number]:
                    members.setdefault(code, []).append(number)
        codes = sorted(members)
        assert (grid.coarse_codes if level == coarse_level else grid.fine_codes).tolist() == codes
        means = []
        for code in codes:
            total = sum(votes[n] for n in members[code])
            means.append(sum(votes[n] * lifted[n] for n in members[code]) / total)
        expected = torch.stack(means)
        expected = torch.cat([expected[:, slice(*chosen)], expected[:, -1:]], 1)
        torch.testing.assert_close(voxels, expected)
        cotangent = torch.randn(voxels.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
        leaves = (votes, fine.features, fine.occupancy, fine.logits)
        torch.testing.assert_close(
            torch.autograd.grad(voxels, leaves, cotangent, retain_graph=True),
            torch.autograd.grad(expected, leaves, cotangent, retain_graph=True),
        )
