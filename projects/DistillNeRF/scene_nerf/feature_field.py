"""Features of a foundation model in a field: of surfaces, in coarse cells, and of the sky by direction.

A feature is read where a ray ends, at its mean distance, trilinearly; on a moving thing in the frame of the thing. That
of the sky counts by what passes through the cells. So each is a weighted sum of a few values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..geometry.tensors import TensorFields
from ..semantics.classes import CHANNELS
from .cells import Cells, grid_state, take_grid
from .nested_grid import NestedGrid, corner_weights

# Height (elevation) and width (azimuth) of the map of the sky.
SKY_SIZE = (32, 128)
# Less opacity is none, less transmittance, too; with more of it than the second something is seen.
CLEAR, OPAQUE = 0.02, 0.5
# Names of the grids in a checkpoint.
STILL, MOVING = 'still.', 'moving.'


@dataclass(frozen=True)
class Ends(TensorFields):
    """Where rays end.

    Attributes:
        places: ``(n, 3)`` in the scene; of those on moving things on the shelf (:mod:`.moving_cells`).
        moving: ``(n,)`` bool, which they are.
        directions: ``(n, 3)`` of the rays.
        transmittance: ``(n,)`` what passes through everything.
    """

    places: Tensor
    moving: Tensor
    directions: Tensor
    transmittance: Tensor


@dataclass(frozen=True)
class Reads(TensorFields):
    """What the feature of each ray is made of.

    Attributes:
        numbers: ``(n, 12)`` int64, rows of the values: eight vertices and four pixels of the sky.
        weights: ``(n, 12)``, zero for what does not count; their sum is 1.
        known: ``(n,)`` bool; others end where no cell is.
    """

    numbers: Tensor
    weights: Tensor
    known: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Return the features ``(n, channels)`` made of values; NaN where they are not known."""
        features = values.new_zeros(len(self.numbers), values.shape[1])
        for number, weight in zip(self.numbers.unbind(1), self.weights.unbind(1), strict=True):
            features = features + weight[:, None] * values[number]
        return features.masked_fill(~self.known[:, None], math.nan)


class FeatureField(nn.Module):
    """The features of a field; they are fitted (:mod:`.feature_fit`) once the field stands, and never trained.

    Args:
        still: cells of what stands.
        moving: cells of things, on the shelf.
        size: (height, width) of the maps that they were learned from.

    Attributes:
        values: ``(V, CHANNELS)`` float16, of the vertices of both grids and of the sky, row by row.
    """

    def __init__(self, still: NestedGrid, moving: NestedGrid, size: tuple[int, int]) -> None:
        super().__init__()
        self.still, self.moving = still, moving
        count = still.num_vertices + moving.num_vertices + SKY_SIZE[0] * SKY_SIZE[1]
        device = still.levels.device
        self.register_buffer('values', torch.zeros(count, CHANNELS, dtype=torch.float16, device=device))
        self.register_buffer('map_size', still.levels.new_tensor(size))

    @classmethod
    def around(
        cls, still: NestedGrid, moving: NestedGrid, cell: float, largest: float, size: tuple[int, int]
    ) -> FeatureField:
        """Return features, all zero, of the cells of a field.

        Args:
            still, moving: its cells.
            cell: edge of the smallest cells of features, meters; in fact a power of two times those of the field.
            largest: edge of the largest cells that its innermost box can have, meters.
            size: (height, width) of the maps.
        """
        factor = 2 ** round(math.log2(max(min(cell, largest) / float(still.boxes.sizes[0]), 1.0)))
        return cls(still.coarser(factor), moving.coarser(factor) if len(moving) else moving, size)

    @classmethod
    def empty(cls) -> FeatureField:
        """Return no cells, to load a checkpoint into."""
        grid = Cells.empty().grid
        return cls(grid, grid, (1, 1))

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) of the maps that they were learned from."""
        height, width = self.map_size.tolist()
        return height, width

    def reads(self, ends: Ends) -> Reads:
        """Tell what the features of rays are made of."""
        numbers = ends.moving.new_zeros(len(ends.places), 8, dtype=torch.int64)
        weights = ends.places.new_zeros(len(ends.places), 8)
        found = torch.zeros_like(ends.moving)
        for grid, first, chosen in ((self.still, 0, ~ends.moving), (self.moving, self.still.num_vertices, ends.moving)):
            rays = chosen.nonzero()[:, 0]
            levels = grid.boxes.level_of(ends.places[rays])
            rays, levels = rays[levels < grid.boxes.levels], levels[levels < grid.boxes.levels]
            positions = (ends.places[rays] - grid.boxes.lower[levels]) / grid.boxes.sizes[levels][:, None]
            cells, inner = grid.find(levels, positions)
            rays, cells, inner = (x[cells >= 0] for x in (rays, cells, inner))
            numbers[rays] = first + grid.vertices[cells].long()
            weights[rays] = corner_weights(inner)
            found[rays] = True
        opacity = 1 - ends.transmittance
        sky, shares = _sky_pixels(ends.directions)
        # Where no cell is, what is more than half sky is sky.
        passed = torch.where(found & (opacity > CLEAR), ends.transmittance, 1.0)
        passed = torch.where(passed > CLEAR, passed, 0.0)
        numbers = torch.cat([numbers, len(self.values) - SKY_SIZE[0] * SKY_SIZE[1] + sky], 1)
        weights = torch.cat([(1 - passed)[:, None] * weights, passed[:, None] * shares], 1)
        return Reads(numbers, weights, found | (opacity < OPAQUE))

    def forward(self, ends: Ends) -> Tensor:
        """Return the features ``(n, CHANNELS)`` float32 of rays; NaN where they are not known."""
        return self.reads(ends).of(self.values.float())

    def keep(self, known: Tensor, values: Tensor) -> None:
        """Take values ``(V, CHANNELS)``; drop cells that have a vertex which is not known ``(V,)``."""
        counts = (self.still.num_vertices, self.moving.num_vertices)
        parts = values.split([*counts, len(values) - sum(counts)])
        kept = known.split([*counts, len(values) - sum(counts)])
        chosen = [
            grid.select(mask[grid.vertices.long()].all(1), part)
            for grid, mask, part in zip((self.still, self.moving), kept, parts, strict=False)
        ]
        (self.still, first), (self.moving, second) = chosen
        self.values = torch.cat([first, second, parts[2]]).to(self.values)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the grids, too."""
        super()._apply(fn, recurse)
        self.still, self.moving = self.still.map(fn), self.moving.map(fn)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save the grids, too."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update(grid_state(self.still, prefix + STILL) | grid_state(self.moving, prefix + MOVING))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the grids of a checkpoint, and as many values."""
        device = self.values.device
        self.still, self.moving = (
            take_grid(state_dict, prefix + name).map(lambda x: x.to(device)) for name in (STILL, MOVING)
        )
        self.values = self.values.new_zeros(state_dict[prefix + 'values'].shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _sky_pixels(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the four pixels ``(n, 4)`` of the sky around directions ``(n, 3)``, and their bilinear weights."""
    height, width = SKY_SIZE
    azimuth = torch.atan2(directions[:, 0], directions[:, 1]) / math.tau
    elevation = torch.asin(directions[:, 2].clamp(-1, 1)) / math.pi
    column, row = (azimuth + 0.5) * width - 0.5, ((0.5 - elevation) * height - 0.5).clamp(0, height - 1)
    left, top = column.floor(), row.floor().clamp_max(height - 2)
    right_share, low_share = column - left, row - top
    columns = torch.stack([left, left + 1, left, left + 1], 1).long() % width
    rows = torch.stack([top, top, top + 1, top + 1], 1).long()
    across = torch.stack([1 - right_share, right_share] * 2, 1)
    down = torch.stack([1 - low_share, 1 - low_share, low_share, low_share], 1)
    return rows * width + columns, across * down
