"""What LiDAR tells of space above its beams: walls go on upwards, and so does what is free.

The beams of a car's LiDAR reach no upper storeys nearby. In each column of voxels the highest one that is known says
what may be above: a wall, or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor
from typing_extensions import Self

from .beams import Beams
from .evidence import Evidence
from .nested_grid import BLOCK, NestedBoxes, NestedGrid

# Beams this little below the highest, degrees, tell of walls that go on above.
HIGHEST = 3.0
# What was hit this little below the highest that is known of a column may go on above, meters.
CLOSE = 1.5


@dataclass(frozen=True)
class Columns:
    """The highest voxel that is known in each column of voxels.

    Attributes:
        corner: ``(3,)`` lowest corner of the voxels, meters.
        voxel: their side, meters.
        tops: ``(x, y)`` int32 its number from below, -1 where nothing is known.
        solid: ``(x, y)`` bool whether a beam ended in it, or close below.
    """

    corner: np.ndarray
    voxel: float
    tops: np.ndarray
    solid: np.ndarray

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        """Find them."""
        indices, hits, _ = evidence.voxels()
        column, height = (indices[:, 0], indices[:, 1]), indices[:, 2]
        shape = tuple(int(values.max(initial=-1)) + 1 for values in column)
        tops, solid = np.full(shape, -1, np.int32), np.zeros(shape, bool)
        np.maximum.at(tops, column, height)
        near = (hits > 0) & (height > tops[column] - CLOSE / evidence.voxel)
        solid[column[0][near], column[1][near]] = True
        return cls(evidence.corner, evidence.voxel, tops, solid)

    def free_above(self, grid: NestedGrid) -> Tensor:
        """Tell which cells ``(C,)`` stand above what is free, and not beside what is solid."""
        cells = np.floor((grid.centers.double().cpu().numpy() - self.corner) / self.voxel).astype(np.int64)
        levels = grid.levels.cpu().numpy()
        inside = ((cells[:, :2] >= 0) & (cells[:, :2] < self.tops.shape)).all(1)
        free = np.zeros(len(cells), bool)
        for level, size in enumerate(grid.boxes.sizes.tolist()):
            around = 1 + 2 * int(np.ceil(size / 2 / self.voxel))
            solid = maximum_filter(self.solid, around)
            chosen = ((levels == level) & inside).nonzero()[0]
            x, y, height = cells[chosen].T
            free[chosen] = (self.tops[x, y] >= 0) & (height > self.tops[x, y]) & ~solid[x, y]
        return torch.from_numpy(free).to(grid.levels.device)


def walls_of(beams: Beams | None) -> Tensor:
    """Return the ends ``(n, 3)`` of beams that are as high as beams go: what they hit goes on above."""
    if beams is None:
        return torch.zeros(0, 3)
    ways = beams.ends - beams.origins
    slopes = ways[:, 2] / np.maximum(np.linalg.norm(ways[:, :2], axis=1), 1e-6)
    degrees = np.degrees(np.arctan(slopes))
    return torch.from_numpy(beams.ends[degrees >= np.percentile(degrees, 99.9) - HIGHEST])


def above_walls(boxes: NestedBoxes, levels: Tensor, coordinates: Tensor, walls: Tensor) -> Tensor:
    """Tell which cells ``(n,)`` stand above the highest of points ``(m, 3)`` in their column."""
    above = torch.zeros(len(levels), dtype=torch.bool)
    for level in range(boxes.levels):
        chosen = (levels == level).nonzero()[:, 0]
        dims = boxes.blocks[level] * BLOCK
        cells = ((walls - boxes.lower[level]) / boxes.sizes[level]).floor().long()
        cells = cells[((cells >= 0) & (cells < dims)).all(1)]
        tops = torch.full((int(dims[0] * dims[1]),), int(dims[2]))
        tops.scatter_reduce_(0, cells[:, 0] * dims[1] + cells[:, 1], cells[:, 2], 'amax', include_self=False)
        own = coordinates[chosen]
        above[chosen] = own[:, 2] > tops[own[:, 0] * dims[1] + own[:, 1]]
    return above
