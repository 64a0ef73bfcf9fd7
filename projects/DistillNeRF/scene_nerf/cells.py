"""Occupied cells that are optimized: what lies at their vertices, and which of them rays needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from . import march_kernels, marching
from .marching import CHANNELS, Marching, RayOutputs, Rays
from .nested_grid import NestedBoxes, NestedGrid

# Names of a grid in a checkpoint.
GRID = ('boxes.lower', 'boxes.upper', 'boxes.sizes', 'cells.levels', 'cells.coordinates')


class Cells(nn.Module):
    """A grid and its values; both change as training goes on, and a checkpoint holds both.

    Args:
        grid: the occupied cells.
        values: ``(V, CHANNELS)`` what their vertices begin with.

    Attributes:
        values: ``(V, CHANNELS)`` at the vertices; see :mod:`.marching`.
        largest: ``(C,)`` largest weight that a ray in training gave each cell.
    """

    def __init__(self, grid: NestedGrid, values: Tensor) -> None:
        super().__init__()
        self.grid = grid
        self.values = nn.Parameter(values)
        self.register_buffer('largest', torch.zeros(len(grid), device=values.device))

    @classmethod
    def empty(cls) -> Cells:
        """Return no cells, to load a checkpoint into."""
        boxes = NestedBoxes(torch.zeros(1, 3), torch.ones(1, 3), torch.full((1,), 0.125))
        nothing = torch.zeros(0, dtype=torch.int64)
        grid = NestedGrid.build(boxes, nothing, nothing.view(0, 1).expand(0, 3))
        return cls(grid, torch.zeros(0, CHANNELS))

    def __len__(self) -> int:
        return len(self.grid)

    def march(self, rays: Rays, settings: Marching) -> RayOutputs:
        """Render rays: fused on CPUs, in plain torch elsewhere."""
        module = march_kernels if self.values.is_cpu else marching
        return module.composite(self.grid, self.values, rays, settings, self.largest if self.training else None)

    def replace(self, grid: NestedGrid, values: Tensor) -> None:
        """Take other cells; the values become a new parameter."""
        self.grid = grid
        self.values = nn.Parameter(values)
        self.largest = torch.zeros(len(grid), device=values.device)

    def select(self, keep: Tensor) -> None:
        """Keep the cells of a mask ``(C,)``."""
        self.replace(*self.grid.select(keep, self.values.detach()))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the grid, too."""
        super()._apply(fn, recurse)
        self.grid = self.grid.map(fn)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save the grid, too."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update(grid_state(self.grid, prefix))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the grid of a checkpoint, and as many vertices."""
        if all(prefix + name in state_dict for name in GRID):
            self.grid = take_grid(state_dict, prefix).map(lambda x: x.to(self.values.device))
            self.largest = self.values.new_zeros(len(self.grid))
        resize_parameter(self, 'values', state_dict.get(prefix + 'values'))
        super()._load_from_state_dict(state_dict, prefix, *args)


def grid_state(grid: NestedGrid, prefix: str) -> dict[str, Tensor]:
    """Return what a checkpoint says of a grid."""
    boxes = grid.boxes
    parts = (boxes.lower, boxes.upper, boxes.sizes, grid.levels.byte(), grid.coordinates.short())
    return {prefix + name: tensor for name, tensor in zip(GRID, parts, strict=True)}


def take_grid(state_dict: dict[str, Any], prefix: str) -> NestedGrid:
    """Take a grid out of a checkpoint."""
    lower, upper, sizes, levels, coordinates = (state_dict.pop(prefix + name) for name in GRID)
    return NestedGrid.build(NestedBoxes(lower, upper, sizes), levels.long(), coordinates.long())


def resize_parameter(module: nn.Module, name: str, stored: Tensor | None) -> None:
    """Give a parameter the shape of what is going to be loaded; one that fits stays, as an optimizer may hold it."""
    own = getattr(module, name)
    if stored is not None and stored.shape != own.shape:
        setattr(module, name, nn.Parameter(own.new_empty(stored.shape)))
