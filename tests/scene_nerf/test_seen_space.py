"""What was seen: marked cells, and rays that leave them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes
from projects.DistillNeRF.scene_nerf.seen_space import SeenSpace

BOXES = NestedBoxes.around(torch.zeros(1, 3), 0.8, 2, (12.0, 4.0, 8.0), coarsest=0.8)


def rays(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 1, 0.2]), dim=1)
    return torch.zeros(count, 3), directions


def test_what_was_marked_is_seen_and_what_lies_behind_is_not():
    space = SeenSpace(BOXES)
    origins, directions = rays(20000, 0)
    space.mark(origins, directions, torch.full((20000,), 10.0))
    origins, others = rays(500, 1)
    # But for a few that look steeply up or down, where rays are rare.
    assert space.unseen(origins, others, torch.full((500,), 9.0)).float().mean() < 0.02
    assert space.unseen(origins, others, torch.full((500,), 16.0)).all()


def test_nothing_is_seen_at_first_and_short_rays_see_nothing_new():
    space = SeenSpace(BOXES)
    origins, directions = rays(50, 2)
    assert space.unseen(origins, directions, torch.full((50,), 5.0)).all()
    assert not space.unseen(origins, directions, torch.full((50,), 0.5)).any()
    assert space.unseen(origins[:0], directions[:0], torch.zeros(0)).shape == (0,)


def test_a_shadow_is_unseen_from_the_side():
    """A wall hides what lies behind; a camera that stands beside it looks into that."""
    space = SeenSpace(BOXES)
    origins, directions = rays(50000, 3)
    ahead = (directions[:, 1] > 0.9) & (directions[:, 1] < 1)
    wall = torch.where(ahead, 5 / directions[:, 1].clamp_min(0.1), 40.0)
    space.mark(origins, directions, wall)
    side = torch.tensor([[9.0, 9.0, 0.0]])
    assert space.unseen(side, torch.tensor([[-1.0, 0, 0]]), torch.tensor([16.0])).all()
    assert not space.unseen(side, torch.tensor([[0.0, -1, 0]]), torch.tensor([16.0])).any()


def test_flags_are_kept_and_points_beyond_the_boxes_are_passed():
    space = SeenSpace(BOXES)
    origins, directions = rays(2000, 4)
    space.mark(origins, directions, torch.full((2000,), 500.0))
    again = SeenSpace(BOXES, space.flags.clone())
    assert torch.equal(
        again.unseen(origins, directions, torch.full((2000,), 500.0)),
        space.unseen(origins, directions, torch.full((2000,), 500.0)),
    )
    assert not again.unseen(origins, directions, torch.full((2000,), 500.0)).any()
