"""How far the past is to be believed: points that were lifted then, where the cameras see through them now."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.cameras import NEAREST, Cameras, in_image
from ..geometry.tensors import full_precision
from .fine_depth import FineDepth

# The logarithm of a ratio of distances is clamped to this: the belief in a point is 0 or 1 long before.
MAX_LOG = 1.0


class PastAgreement(nn.Module):
    """Tell of points of the past how likely they still are where they were.

    A point counts by the camera that sees farthest through it: x, the logarithm of the distance to the surface that the
    camera sees now over the distance to the point, is above 0 where now there is free space. Its belief is
    ``sigmoid((tolerance - x) / temperature)``: about 1 on the surface and behind it, where it fills what is hidden now,
    and 0 well before it, where something has gone, or was estimated wrong. A point that no camera has in its image
    is believed.

    Args:
        tolerance: of x, at which a point is half believed; learned from there. Depth of a surface is as uncertain.
        temperature: how fast belief fades around it; learned from there.

    Raises:
        ValueError: one of them is not above 0.
    """

    def __init__(self, tolerance: float = 0.15, temperature: float = 0.03) -> None:
        super().__init__()
        if not (tolerance > 0 and temperature > 0):
            raise ValueError(f'tolerance {tolerance} and temperature {temperature}: give both above 0')
        # Logarithms, so that both stay above 0.
        self.log_tolerance = nn.Parameter(torch.tensor(math.log(tolerance)))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, points: Tensor, cameras: Cameras, distances: Tensor) -> Tensor:
        """Return the beliefs ``(P,)``, 0 to 1, in points of the past; they have a gradient for the two parameters.

        Args:
            points: ``(P, 3)`` in the world, meters.
            cameras: ``(V,)`` the cameras of now.
            distances: ``(V, H, W)`` meters along the rays to the surface that each pixel sees now.
        """
        through, seen = sees_through(points, cameras, distances)
        with torch.autocast(points.device.type, enabled=False):
            tolerance, temperature = self.log_tolerance.exp(), self.log_temperature.exp()
            belief = torch.sigmoid((tolerance - through) / temperature)
        return torch.where(seen, belief, 1.0)


@torch.no_grad()
def sees_through(points: Tensor, cameras: Cameras, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Tell how far the cameras see beyond points.

    Of the four pixels around a point the nearest surface counts, so that a point at the edge of something is not
    before what is behind that.

    Args:
        points, cameras, distances: as in :meth:`PastAgreement.forward`.

    Returns:
        ``(P,)`` the logarithm of the distance of the surface over that of the point, clamped; the largest of all
        cameras that have the point in their images; and ``(P,)`` whether one has.
    """
    points, distances = full_precision(points), full_precision(distances)
    height, width = distances.shape[1:]
    # Entry (i, j): the nearest of the pixels i - 1, i and j - 1, j that there are.
    nearest = -F.max_pool2d(-distances[:, None], 2, stride=1, padding=1).squeeze(1)
    through = points.new_full((len(points),), -MAX_LOG)
    seen = torch.zeros_like(through, dtype=torch.bool)
    for number in range(len(distances)):
        camera = cameras[number : number + 1]
        pixels, z = camera.project(points)
        u, v = pixels[0].unbind(-1)
        inside = in_image(u, v, z[0], height, width)
        column, row = (torch.where(inside, place.floor(), 0.0).long() + 1 for place in (u, v))
        surface = nearest[number].reshape(-1).index_select(0, row * (width + 1) + column)
        length = (points - camera.cam2world[0, :3, 3]).norm(dim=-1)
        ratio = (surface.clamp_min(NEAREST) / length.clamp_min(NEAREST)).log().clamp(-MAX_LOG, MAX_LOG)
        through = torch.where(inside, torch.maximum(through, ratio), through)
        seen |= inside
    return through, seen


def believed(fine: FineDepth, belief: Tensor, logit_bound: float) -> FineDepth:
    """Return lifted points that are occupied only as far as they are believed.

    The occupancy p of a candidate becomes ``belief * p``, its density logit, ``(2 p - 1) * bound``, accordingly.

    Args:
        fine: of the past.
        belief: ``(N * H * W * K,)`` of its candidates.
        logit_bound: of the fine depth net.
    """
    belief = belief.view_as(fine.occupancy)
    return dataclasses.replace(
        fine,
        occupancy=belief * full_precision(fine.occupancy),
        logits=belief * (full_precision(fine.logits) + logit_bound) - logit_bound,
    )
