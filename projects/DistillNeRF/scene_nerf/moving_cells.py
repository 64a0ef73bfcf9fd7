"""Cells of what moves: each thing has its own, in its own frame, and its track says where they are at a time.

All things share one grid, the *shelf*, in which their boxes stand side by side. A ray that crosses the box of a thing
is moved into the shelf for that part of its way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from typing_extensions import Self

from ..geometry.poses import inverse_pose
from .cells import Cells
from .crossings import Crossings, find_crossings
from .growth import FOG, SURFACE
from .marching import CHANNELS
from .nested_grid import BLOCK, NestedBoxes, NestedGrid
from .tracks import Thing

# Cells may be so far from the nearest LiDAR point of a thing, meters, and half of their own diagonal more.
AROUND = 0.4
# Names of the tracks in a checkpoint.
TRACKS = ('counts', 'times', 'poses', 'lower', 'upper', 'reach')


class MovingCells(nn.Module):
    """The cells of all things of a drive.

    Attributes:
        cells: the cells, in the shelf.
        things: where each is at which time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cells = Cells.empty()
        self.things: tuple[Thing, ...] = ()
        self._corners = torch.zeros(0, 3)
        self._points = torch.zeros(0, 3)
        self._maps: dict[float, Tensor] = {}

    def __len__(self) -> int:
        return len(self.things)

    def learn_of(self, things: Sequence[Thing], largest: float) -> None:
        """Take things; cells are made by :meth:`begin` or come from a checkpoint.

        Args:
            things: of the drive.
            largest: size of the cells that training begins with, meters.
        """
        self.things = tuple(things)
        self._maps.clear()
        self._corners = _corners(self.things, largest).to(self.cells.values.device)
        on_shelf = [
            torch.from_numpy(thing.points - thing.lower).float() + corner
            for thing, corner in zip(self.things, self._corners.cpu(), strict=True)
        ]
        self._points = torch.cat([torch.zeros(0, 3), *on_shelf])

    def begin(self, largest: float) -> None:
        """Make the cells that training begins with: those around the LiDAR points of things."""
        if not len(self._points):
            return
        edge = BLOCK * largest
        high = torch.stack([c + self._extents(i) for i, c in enumerate(self._corners.cpu())]).amax(0)
        upper = ((high / edge).floor() + 1) * edge
        boxes = NestedBoxes(torch.zeros(1, 3), upper[None], torch.tensor([largest]))
        steps = torch.cartesian_prod(*[torch.tensor([-AROUND, 0.0, AROUND])] * 3)
        sides = BLOCK * boxes.blocks[0]
        codes = []
        for step in steps:
            cells = ((self._points + step) / largest).floor().long()
            x, y, z = cells[((cells >= 0) & (cells < sides)).all(1)].unbind(1)
            codes.append(((x * sides[1] + y) * sides[2] + z).unique())
        found = torch.stack(torch.unravel_index(torch.cat(codes).unique(), sides.tolist()), 1)
        grid = NestedGrid.build(boxes, torch.zeros(len(found), dtype=torch.int64), found)
        values = torch.zeros(grid.num_vertices, CHANNELS)
        values[:, 0] = FOG
        hit, _ = grid.find(torch.zeros(len(self._points), dtype=torch.int64), self._points / largest)
        values[grid.vertices[hit[hit >= 0].unique()].long().flatten(), 0] = SURFACE
        device = self.cells.values.device
        self.cells.replace(grid.to(device), values.to(device))

    def divide(self, needed: float) -> None:
        """Halve the cells that some ray gave more than that weight; leave out children far from all LiDAR points."""
        if not len(self.cells):
            return
        grid, values = self.cells.grid.select(self.cells.largest > needed, self.cells.values.detach())
        boxes, levels, coordinates = grid.children()
        centers = (boxes.lower[levels] + (coordinates + 0.5) * boxes.sizes[levels][:, None]).cpu()
        reach = AROUND + math.sqrt(3) / 2 * float(boxes.sizes[0])
        distances, _ = cKDTree(self._points.numpy()).query(centers.numpy(), distance_upper_bound=reach)
        self.cells.replace(*grid.refine(torch.from_numpy(np.isfinite(distances)).to(values.device), values))

    def crossings(self, origins: Tensor, directions: Tensor, times: Tensor) -> Crossings:
        """Find where rays ``(n, 3)`` of some times ``(n,)``, seconds, cross the boxes of things."""
        moments, moment = times.unique(return_inverse=True)
        maps = [self._maps_at(float(time)).to(origins) for time in moments]
        counts = origins.new_tensor([len(part) for part in maps], dtype=torch.int64)
        table = torch.cat([origins.new_zeros(0, 6, 3), *maps])
        firsts = counts.cumsum(0) - counts
        return find_crossings(origins, directions, firsts[moment], counts[moment], table)

    def _extents(self, index: int) -> Tensor:
        thing = self.things[index]
        return torch.from_numpy(thing.upper - thing.lower).float()

    def _maps_at(self, time: float) -> Tensor:
        """Return ``(m, 6, 3)`` of the things that are there at a time.

        Rows 0 to 2 rotate from the scene to the shelf, row 3 is added then; rows 4 and 5 are the corners of the box.
        """
        if time not in self._maps:
            maps = []
            for index, thing in enumerate(self.things):
                pose = thing.pose_at(time)
                if pose is None:
                    continue
                corner = self._corners[index].double().cpu().numpy()
                matrix = inverse_pose(pose)
                shift = matrix[:3, 3] - thing.lower + corner
                maps.append(np.vstack([matrix[:3, :3], shift, corner, corner + thing.upper - thing.lower]))
            self._maps[time] = torch.from_numpy(np.array(maps).reshape(-1, 6, 3)).float()
        return self._maps[time]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the corners of the boxes, too."""
        super()._apply(fn, recurse)
        self._corners = fn(self._corners)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save the tracks, too."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        things = self.things
        parts = (
            np.array([len(thing.times) for thing in things], np.int64),
            np.concatenate([np.zeros(0), *(thing.times for thing in things)]),
            np.concatenate([np.zeros((0, 4, 4)), *(thing.poses for thing in things)]),
            np.array([thing.lower for thing in things]).reshape(-1, 3),
            np.array([thing.upper for thing in things]).reshape(-1, 3),
            np.array([thing.reach for thing in things], np.float64),
        )
        tensors = {prefix + name: torch.from_numpy(part) for name, part in zip(TRACKS, parts, strict=True)}
        destination.update({**tensors, prefix + 'corners': self._corners})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the tracks of a checkpoint; they come without LiDAR points."""
        if all(prefix + name in state_dict for name in (*TRACKS, 'corners')):
            counts, times, poses, lower, upper, reach = (state_dict.pop(prefix + name).cpu().numpy() for name in TRACKS)
            ends = counts.cumsum()
            self.things = tuple(
                Thing(
                    times[end - count : end],
                    poses[end - count : end],
                    lower[index],
                    upper[index],
                    np.zeros((0, 3), np.float32),
                    np.zeros(0, np.int64),
                    float(reach[index]),
                )
                for index, (end, count) in enumerate(zip(ends, counts, strict=True))
            )
            self._corners = state_dict.pop(prefix + 'corners').to(self.cells.values.device)
            self._maps.clear()
        super()._load_from_state_dict(state_dict, prefix, *args)


def _corners(things: Sequence[Thing], largest: float) -> Tensor:
    """Place boxes in rows and columns, at least a cell apart: return their lower corners ``(m, 3)``."""
    if not things:
        return torch.zeros(0, 3)
    extents = np.array([thing.upper - thing.lower for thing in things]).max(0)
    edges = np.ceil((extents + 2 * largest) / (BLOCK * largest)) * BLOCK * largest
    columns = math.ceil(math.sqrt(len(things)))
    places = np.array([[index % columns, index // columns, 0] for index in range(len(things))])
    return torch.from_numpy(places * edges + largest).float()
