"""The field of one drive: cells that stand, cells that move, the sky by direction, and one exposure per image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cells import Cells, resize_parameter
from .crossings import Crossings
from .feature_field import CLEAR, OPAQUE, Ends, FeatureField
from .marching import Marching, RayOutputs, Rays
from .moving_cells import MovingCells

# Height (elevation) and width (azimuth) of the map of the sky.
SKY_SIZE = (256, 1024)


@dataclass(frozen=True)
class FieldOutputs(RayOutputs):
    """What rays see of all cells.

    Attributes:
        moving: ``(n,)`` sum of the weights of cells that move.
    """

    moving: Tensor


class SceneField(nn.Module):
    """What is optimized for a drive.

    Args:
        cells: those that stand.
        num_images: number of training images.
        settings: how rays are marched.

    Attributes:
        moving: the cells that move.
        sky: ``(3, height, width)`` logits of the color by azimuth (clockwise from straight ahead) and elevation.
        exposure: ``(num_images, 3, 4)`` what an affine change of color adds to the identity.
        features: those of a foundation model; None if it learned none.
    """

    def __init__(self, cells: Cells, num_images: int = 0, settings: Marching | None = None) -> None:
        super().__init__()
        self.cells = cells
        self.moving = MovingCells()
        self.settings = settings or Marching()
        self.sky = nn.Parameter(torch.zeros(3, *SKY_SIZE))
        self.exposure = nn.Parameter(torch.zeros(num_images, 3, 4))
        self.features: FeatureField | None
        self.register_module('features', None)

    def march(self, rays: Rays, times: Tensor) -> FieldOutputs:
        """Render rays ``(n,)`` at times ``(n,)`` float64, seconds, through the cells.

        Where a ray crosses the box of a thing, what the thing shows is in front of what stands in the same place.
        """
        crossings = self.moving.crossings(rays.origins, rays.directions, times)
        parts = (_before_crossings(rays, crossings), _behind_crossings(rays, crossings))
        standing = self.cells.march(Rays.joined(parts), self.settings)
        first, rest = (standing.map(lambda x, i=i: x.split([len(part) for part in parts])[i]) for i in (0, 1))
        there = Rays(
            crossings.origins,
            crossings.directions,
            rays.jitter[crossings.rays],
            rays.limits[crossings.rays],
            crossings.spans,
        )
        things = self.moving.cells.march(there, self.settings)
        outputs = FieldOutputs(*(getattr(first, name) for name in RayOutputs.__dataclass_fields__), 0 * first.distance)
        for rank in range(int(crossings.ranks.max()) + 1 if len(crossings.rays) else 0):
            chosen = (crossings.ranks == rank).nonzero()[:, 0]
            ray = crossings.rays[chosen]
            for layer, moves in ((things, True), (rest, False)):
                outputs = _layered(outputs, ray, layer.map(lambda x, chosen=chosen: x[chosen]), moves)
        return outputs

    def sky_color(self, directions: Tensor) -> Tensor:
        """Return the color ``(n, 3)`` of the sky in directions ``(n, 3)``."""
        azimuth = torch.atan2(directions[:, 0], directions[:, 1]) / math.pi
        elevation = torch.asin(directions[:, 2].clamp(-1, 1)) / (math.pi / 2)
        places = torch.stack([azimuth, -elevation], -1)[None, None]
        # The map goes on where it ends, straight behind.
        padded = F.pad(self.sky[None], (1, 1, 0, 0), mode='circular')
        width = self.sky.shape[2]
        places = places * places.new_tensor([width / (width + 2), 1.0])
        colors = F.grid_sample(padded, places, padding_mode='border', align_corners=False)
        return torch.sigmoid(colors[0, :, 0].T)

    def color(self, outputs: RayOutputs, directions: Tensor) -> Tensor:
        """Return the color ``(n, 3)`` of rays with the sky behind the cells."""
        return outputs.color + outputs.transmittance[:, None] * self.sky_color(directions)

    def exposed(self, color: Tensor, images: Tensor) -> Tensor:
        """Return colors ``(n, 3)`` as images ``(n,)`` see them."""
        return expose(color, self.exposure[images])

    def ends(self, rays: Rays, times: Tensor, outputs: FieldOutputs) -> Ends:
        """Tell where rays ``(n,)`` of some times ``(n,)`` end, by what they see of the cells."""
        opacity = 1 - outputs.transmittance
        distances = outputs.distance / opacity.clamp_min(1e-6)
        places = rays.origins + distances[:, None] * rays.directions
        moving = outputs.moving > OPAQUE * opacity.clamp_min(CLEAR)
        chosen = moving.nonzero()[:, 0]
        crossings = self.moving.crossings(rays.origins[chosen], rays.directions[chosen], times[chosen])
        enter, leave = crossings.spans.unbind(1)
        wanted = distances[chosen][crossings.rays]
        inside = torch.minimum(torch.maximum(wanted, enter), leave)
        # Of the things that a ray crosses, and it crosses one, that which is nearest to where it ends.
        order = (wanted - inside).abs().argsort(stable=True)
        order = order[crossings.rays[order].argsort(stable=True)]
        first = F.pad(crossings.rays[order].diff() > 0, (1, 0), value=True)[: len(order)]
        there = crossings.origins + inside[:, None] * crossings.directions
        return Ends(places.index_put((chosen,), there[order[first]]), moving, rays.directions, outputs.transmittance)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take exposures of as many images as a checkpoint has, and features if it has them."""
        self.features = FeatureField.empty().to(self.sky.device) if prefix + 'features.values' in state_dict else None
        resize_parameter(self, 'exposure', state_dict.get(prefix + 'exposure'))
        super()._load_from_state_dict(state_dict, prefix, *args)


def expose(color: Tensor, change: Tensor) -> Tensor:
    """Return colors ``(n, 3)`` after affine changes ``(n, 3, 4)``, which are added to the identity."""
    return color + (change[..., :3] * color[:, None]).sum(-1) + change[..., 3]


def _before_crossings(rays: Rays, crossings: Crossings) -> Rays:
    """Return rays ``(n,)`` that end where they enter their first box, if there is one."""
    first = crossings.ranks == 0
    ends = rays.spans[:, 1].index_copy(0, crossings.rays[first], crossings.spans[first, 0])
    return replace(rays, spans=torch.stack([rays.spans[:, 0], ends], 1))


def _behind_crossings(rays: Rays, crossings: Crossings) -> Rays:
    """Return rays ``(p,)`` from where they enter each box to where they enter the next, or to their end."""
    chosen = rays.map(lambda x: x[crossings.rays])
    begins, ends = crossings.spans[:, 0], chosen.spans[:, 1].clone()
    followed = (crossings.ranks[1:] > 0).nonzero()[:, 0]
    ends[followed] = begins[followed + 1]
    return replace(chosen, spans=torch.stack([begins, ends], 1))


def _layered(front: FieldOutputs, rays: Tensor, layer: RayOutputs, moves: bool) -> FieldOutputs:
    """Put a layer ``(m,)`` behind what some rays ``(m,)`` see so far."""
    passed = front.transmittance[rays]
    return FieldOutputs(
        front.color.index_add(0, rays, passed[:, None] * layer.color),
        front.distance.index_add(0, rays, passed * layer.distance),
        front.transmittance.index_put((rays,), passed * layer.transmittance),
        front.before.index_put((rays,), front.before[rays] * layer.before),
        front.moving.index_add(0, rays, passed * (1 - layer.transmittance)) if moves else front.moving,
    )
