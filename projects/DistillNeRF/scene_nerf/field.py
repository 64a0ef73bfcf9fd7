"""The field of one drive: cells with density and color, the sky by direction, and one exposure per image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from . import march_kernels, marching
from .marching import CHANNELS, Marching, RayOutputs, Rays
from .nested_grid import NestedBoxes, NestedGrid

# Height (elevation) and width (azimuth) of the map of the sky.
SKY_SIZE = (256, 1024)
# Names of the cells in a checkpoint.
CELLS = ('boxes.lower', 'boxes.upper', 'boxes.sizes', 'cells.levels', 'cells.coordinates')


class SceneField(nn.Module):
    """What is optimized for a drive.

    Args:
        grid: the occupied cells.
        values: ``(V, CHANNELS)`` what their vertices begin with.
        num_images: number of training images.
        settings: how rays are marched.

    Attributes:
        values: ``(V, CHANNELS)`` at the vertices; see :mod:`.marching`.
        sky: ``(3, height, width)`` logits of the color by azimuth (clockwise from straight ahead) and elevation.
        exposure: ``(num_images, 3, 4)`` what an affine change of color adds to the identity.
        largest: ``(C,)`` largest weight that a ray in training gave each cell.
    """

    def __init__(self, grid: NestedGrid, values: Tensor, num_images: int, settings: Marching) -> None:
        super().__init__()
        self.grid = grid
        self.settings = settings
        self.values = nn.Parameter(values)
        self.sky = nn.Parameter(torch.zeros(3, *SKY_SIZE))
        self.exposure = nn.Parameter(torch.zeros(num_images, 3, 4))
        self.register_buffer('largest', torch.zeros(len(grid)))

    @classmethod
    def empty(cls, num_images: int = 0, settings: Marching | None = None) -> SceneField:
        """Return a field without cells, to load a checkpoint into."""
        boxes = NestedBoxes(torch.zeros(1, 3), torch.ones(1, 3), torch.full((1,), 0.125))
        nothing = torch.zeros(0, dtype=torch.int64)
        grid = NestedGrid.build(boxes, nothing, nothing.view(0, 1).expand(0, 3))
        return cls(grid, torch.zeros(0, CHANNELS), num_images, settings or Marching())

    def march(self, rays: Rays) -> RayOutputs:
        """Render rays through the cells: fused on CPUs, in plain torch elsewhere."""
        module = march_kernels if self.values.is_cpu else marching
        return module.composite(self.grid, self.values, rays, self.settings, self.largest if self.training else None)

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

    def replace_cells(self, grid: NestedGrid, values: Tensor) -> None:
        """Take other cells; the values become a new parameter."""
        self.grid = grid
        self.values = nn.Parameter(values)
        self.largest = torch.zeros(len(grid), device=values.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the cells, too."""
        super()._apply(fn, recurse)
        self.grid = self.grid.map(fn)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save the cells, too."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        boxes = self.grid.boxes
        cells = (boxes.lower, boxes.upper, boxes.sizes, self.grid.levels.byte(), self.grid.coordinates.short())
        destination.update({prefix + name: tensor for name, tensor in zip(CELLS, cells, strict=True)})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the cells of a checkpoint, and parameters of as many vertices and images."""
        if all(prefix + name in state_dict for name in CELLS):
            like = self.values
            lower, upper, sizes, levels, coordinates = (state_dict.pop(prefix + name).to(like.device) for name in CELLS)
            self.grid = NestedGrid.build(NestedBoxes(lower, upper, sizes), levels.long(), coordinates.long())
            self.largest = like.new_zeros(len(self.grid))
        for name in ('values', 'exposure'):
            stored, own = state_dict.get(prefix + name), getattr(self, name)
            # An optimizer may hold what fits.
            if stored is not None and stored.shape != own.shape:
                setattr(self, name, nn.Parameter(own.new_empty(stored.shape)))
        super()._load_from_state_dict(state_dict, prefix, *args)


def expose(color: Tensor, change: Tensor) -> Tensor:
    """Return colors ``(n, 3)`` after affine changes ``(n, 3, 4)``, which are added to the identity."""
    return color + (change[..., :3] * color[:, None]).sum(-1) + change[..., 3]
