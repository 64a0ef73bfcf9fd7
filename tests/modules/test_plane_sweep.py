"""Plane sweep against its slow version, and on a wall whose distance is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.modules.depth_bins import LogBins, log_centers
from projects.DistillNeRF.modules.plane_sweep import PlaneSweep, enlarge_strided, most_seen, sweep
from tests.helpers.arrays import assert_same_gradients
from tests.helpers.cameras import pinhole, random_cameras
from verification.reference import plane_sweep as slow

BINS = LogBins(5, 0.5, 60.0)


def made(seed: int = 0, count: int = 2) -> PlaneSweep:
    """A sweep whose weights are all random."""
    generator = torch.Generator().manual_seed(seed)
    net = PlaneSweep(3, channels=4, groups=2, count=count, hidden=3).double()
    for parameter in net.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def to_the_front(count: int, height: int, width: int, seed: int) -> Cameras:
    """Cameras a meter or two apart that look about the same way: much of what one sees, others see, not all."""
    generator = torch.Generator().manual_seed(seed)
    cameras = random_cameras(count, height, width, generator, focal=0.8 * width)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    angles = 0.3 * torch.randn(count, generator=generator, dtype=torch.float64)
    poses[:, 0, 0] = poses[:, 2, 2] = angles.cos()
    poses[:, 0, 2], poses[:, 2, 0] = angles.sin(), -angles.sin()
    poses[:, :3, 3] = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return replace(cameras, cam2world=poses)


class Slow(nn.Module):
    """The slow version, with the weights of a sweep."""

    def __init__(self, net: PlaneSweep) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs) -> Tensor:
        return slow.added_logits(self.net, *inputs)


@pytest.mark.parametrize(
    ('size', 'views', 'others', 'count'), [((8, 10), 2, 3, 2), ((7, 9), 1, 1, 2), ((5, 4), 2, 4, 3)]
)
def test_values_and_gradients_equal_the_slow_version(size, views, others, count):
    generator = torch.Generator().manual_seed(1)
    cameras, theirs = to_the_front(views, *size, 2), to_the_front(others, *size, 3)
    net, edges = made(count=count), BINS.edges(cameras.intrinsics).expand(views, -1)
    small = [(side + 1) // 2 for side in size]
    leaves = [torch.randn(n, 4, *small, generator=generator, dtype=torch.float64) for n in (views, others)]
    leaves = [F.normalize(leaf.unflatten(1, (2, 2)), dim=2).flatten(1, 2).requires_grad_() for leaf in leaves]
    context = torch.randn(views, 3, *size, generator=generator, dtype=torch.float64).requires_grad_()

    weights = {
        name: weight for name, weight in net.named_parameters() if name.split('.')[0] in ('mix', 'score', 'gate')
    }

    def fast(mine: Tensor, other: Tensor, context: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        inputs = (mine, cameras, edges, other, theirs, context)
        return (functional_call(net, dict(zip(weights, given, strict=True)), inputs),)

    def plain(mine: Tensor, other: Tensor, context: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        inputs = (mine, cameras, edges, other, theirs, context)
        return (functional_call(Slow(net), {f'net.{name}': x for name, x in zip(weights, given, strict=True)}, inputs),)

    assert fast(*leaves, context, *weights.values())[0].abs().max() > 0.01
    assert_same_gradients(fast, plain, *leaves, context, *weights.values())


def test_what_is_compared_is_of_every_other_pixel_and_of_length_one():
    net = made()
    images = torch.rand(2, 3, 7, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    described = net.describe(images)
    assert described.shape == (2, 4, 4, 5)
    torch.testing.assert_close(described.unflatten(1, (2, 2)).norm(dim=2), torch.ones(2, 2, 4, 5, dtype=torch.float64))
    maps = torch.arange(5.0)[None, None, None].expand(1, 1, 4, -1)
    assert enlarge_strided(maps, (7, 10))[0, 0, 3].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4]


@pytest.mark.parametrize('distance', [6.0, 14.0])
def test_a_wall_is_alike_in_the_bin_of_its_distance(distance):
    """Two cameras see a textured wall; what it looks like is computed from where their rays hit it."""
    bins = LogBins(20, 1.0, 60.0)
    matrices = torch.stack([pinhole(40.0, (29.5, 19.5))] * 2).view(2, 3, 3).double()
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, 0, 3], poses[1, 2, 3] = 1.5, 0.5
    cameras = Cameras(matrices, poses, 40, 60)
    origins, directions = cameras.rays(20, 30)
    directions = cameras.rays(40, 60)[1][:, ::2, ::2]
    lengths = (distance - origins[:, None, None, 2]) / directions[..., 2]
    points = origins[:, None, None] + lengths[..., None] * directions
    x, y = 0.9 * points[..., 0] + 0.3, 0.7 * points[..., 1] + 1.1
    described = torch.stack([x.sin(), x.cos(), y.sin(), y.cos()], 1) / 2**0.5
    net = PlaneSweep(1, channels=4, groups=1).double()
    centers = log_centers(bins.edges(matrices))[None].exp()
    u, v, inside = sweep(cameras[:1], cameras[1:], centers)
    costs = torch.where(inside, net._cosines(described[:1], described[1:], u, v)[:, :, 0], -1.0)
    right = torch.bucketize(lengths[0], bins.edges(matrices)) - 1
    seen = inside[0].gather(0, right[None])[0]
    assert seen.float().mean() > 0.5
    assert ((costs[0].argmax(0) - right).abs() <= 1)[seen].float().mean() > 0.9


def test_the_views_that_have_most_are_chosen_and_those_from_the_same_place_never():
    cameras = to_the_front(1, 16, 24, 5)
    poses = cameras.cam2world.repeat(4, 1, 1)
    poses[1, :3, 3] += poses[1, :3, 0]  # a meter to the right
    poses[2, :3, 3] += 9 * poses[2, :3, 0]
    poses[3, :3, 3] -= poses[3, :3, 2]
    poses[3, :3, :3] = poses[3, :3, :3] * poses.new_tensor([-1, 1, -1])  # looks back
    others = replace(cameras, cam2world=poses, intrinsics=cameras.intrinsics.repeat(4, 1, 1))
    centers = log_centers(BINS.edges(poses))[None].exp()
    numbers, useful = most_seen(cameras, others, centers, 3)
    assert numbers[0, :2].tolist() == [1, 2] and useful.tolist() == [[True, True, False]]
    assert slow.chosen(cameras, others, centers, 3) == [[1, 2]]
    assert most_seen(cameras, others, centers, 9)[0].shape == (1, 4)


@pytest.mark.parametrize('others', ['none', 'itself', 'behind'])
def test_nothing_is_added_where_no_other_view_has_a_point(others):
    net, cameras = made(), to_the_front(2, 6, 8, 7)
    theirs = {'none': cameras[[]], 'itself': cameras, 'behind': cameras}[others]
    if others == 'behind':
        cameras = cameras[:1]
        turned = cameras.cam2world.clone()
        turned[:, :3, :3] *= turned.new_tensor([-1, 1, -1])
        turned[:, :3, 3] -= 200 * cameras.cam2world[:, :3, 2]
        theirs = replace(cameras, cam2world=turned)
    if others == 'itself':
        cameras = theirs = cameras[:1]
    described = torch.ones(len(cameras), 4, 3, 4, dtype=torch.float64)
    context = torch.ones(len(cameras), 3, 6, 8, dtype=torch.float64)
    edges = BINS.edges(context).expand(len(cameras), -1)
    added = net(described, cameras, edges, described.new_ones(len(theirs), 4, 3, 4), theirs, context)
    assert added.shape == (len(cameras), 5, 6, 8) and not added.any()


def test_at_first_nothing_is_added_but_it_learns():
    cameras = to_the_front(2, 6, 8, 7)
    net = PlaneSweep(3, channels=4, groups=2).double()
    images, context = torch.rand(2, 3, 6, 8, dtype=torch.float64), torch.ones(2, 3, 6, 8, dtype=torch.float64)
    described = net.describe(images)
    added = net(described, cameras, BINS.edges(context).expand(2, -1), described, cameras, context)
    assert not added.any()
    added.sum().backward()
    assert net.score.weight.grad.abs().max() > 0


def test_channels_that_are_no_multiple_of_the_groups_are_refused():
    with pytest.raises(ValueError, match='give a multiple'):
        PlaneSweep(3, channels=5, groups=2)
