"""Which space the training images saw; of the rest a field knows nothing, and what is exported says so."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from ..utils.threads import match_threads
from .nested_grid import BLOCK, NestedBoxes

# A ray looks at unseen space once it went through so much of it in front of the surface, in cells.
UNSEEN = 1.0
# Distance of the places that are asked on a ray, in cells.
STEP = 0.5


class SeenSpace:
    """A flag for every cell of nested boxes of large cells, in main memory; rays may be anywhere.

    Args:
        boxes: the boxes.
        flags: ``(n,)`` bool of all cells of all boxes; None for nothing seen.
    """

    def __init__(self, boxes: NestedBoxes, flags: Tensor | None = None) -> None:
        self.boxes = boxes = boxes.map(Tensor.cpu)
        dims = BLOCK * boxes.blocks
        self._starts = torch.cat([dims.new_zeros(1), dims.prod(1).cumsum(0)])
        self.flags = torch.zeros(int(self._starts[-1]), dtype=torch.bool) if flags is None else flags.cpu()

    def mark(self, origins: Tensor, directions: Tensor, distances: Tensor) -> None:
        """Mark what rays ``(n, 3)`` pass on their first ``distances`` ``(n,)``, meters."""
        self._walk(origins, directions, distances, True)

    def unseen(self, origins: Tensor, directions: Tensor, distances: Tensor) -> Tensor:
        """Tell which rays ``(n, 3)`` pass unseen space on their first ``distances`` ``(n,)``, meters."""
        return self._walk(origins, directions, distances, False) > UNSEEN

    def _walk(self, origins: Tensor, directions: Tensor, distances: Tensor, marks: bool) -> Tensor:
        device = origins.device
        origins, directions, distances = (x.detach().cpu() for x in (origins, directions, distances))
        found = torch.zeros(len(origins))
        tensors = (origins, directions, distances, self.boxes.lower, self.boxes.upper, self.boxes.sizes)
        arrays = [x.detach().float().contiguous().numpy() for x in tensors]
        dims = (BLOCK * self.boxes.blocks).numpy()
        match_threads()
        _walk(*arrays, dims, self._starts.numpy(), self.flags.numpy(), found.numpy(), marks)
        return found.to(device)


@njit(parallel=True, cache=True)
def _walk(  # pragma: no cover - compiled
    origins, directions, distances, lower, upper, sizes, dims, starts, flags, found, marks
):
    """Go along rays from box to box; mark their cells, or count those that are not marked."""
    for ray in prange(len(origins)):
        distance = sizes[0] * STEP
        while distance < distances[ray]:
            level = -1
            for candidate in range(len(sizes)):
                inside = True
                for axis in range(3):
                    place = origins[ray, axis] + distance * directions[ray, axis]
                    inside &= lower[candidate, axis] <= place < upper[candidate, axis]
                if inside:
                    level = candidate
                    break
            if level < 0:
                distance += sizes[-1] * STEP
                continue
            cell = np.int64(0)
            for axis in range(3):
                place = origins[ray, axis] + distance * directions[ray, axis]
                index = np.int64((place - lower[level, axis]) / sizes[level])
                cell = cell * dims[level, axis] + min(index, dims[level, axis] - 1)
            if marks:
                flags[starts[level] + cell] = True
            elif not flags[starts[level] + cell]:
                found[ray] += STEP
            distance += sizes[level] * STEP
