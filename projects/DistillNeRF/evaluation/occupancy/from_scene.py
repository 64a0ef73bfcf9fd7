"""Predict the grid of Occ3D-nuScenes from a scene: which voxels are dense, and what their cells show."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ...models.scene import Scene
from ...models.voxel_field import MIN_DENSITY
from ...modules.heads import ColorHead, FeatureHead
from ...modules.renderer import VoxelTables, gather_rows
from ...modules.volume_rendering import activate_density
from ...semantics.classes import CHANNELS, CLASSES, OCC3D_ID, SKY, code_book
from ...semantics.occ3d import FREE, LOWER, SHAPE, VOXEL
from ...utils.errors import InputError

# Points whose densities are computed at a time: those of a CPU's cache.
POINTS_PER_CHUNK = 1 << 16
# The class of what is occupied, where nothing says by what.
UNKNOWN = 0
# What tells the class of a voxel.
SEMANTICS = ('none', 'codes')

# Occ3D classes ``(N,)`` of the features ``(N, C)`` that rays render which see one cell alone.
Classify = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GridSampling:
    """When a voxel is occupied.

    Attributes:
        lattice: points per axis at which the density is asked, the middles of equal parts of the voxel.
        min_density: per meter; a voxel is occupied if one of its points has as much.
        dilation: then everything grows by so many voxels along each axis; the new ones have the class of the nearest.
    """

    lattice: int = 2
    min_density: float = MIN_DENSITY
    dilation: int = 0

    def check(self, name: Callable[[str], str] = str) -> None:
        """Refuse settings that mean nothing.

        Args:
            name: what the user calls a setting, such as ``--lattice``.

        Raises:
            InputError: there is one.
        """
        if not (isinstance(self.lattice, int) and self.lattice >= 1):
            raise InputError(f'{name("lattice")} is {self.lattice}; give 1 or more points per axis')
        if not 0 < self.min_density < math.inf:
            raise InputError(f'{name("min_density")} is {self.min_density}; give a number above 0, per meter')
        if not (isinstance(self.dilation, int) and self.dilation >= 0):
            raise InputError(f'{name("dilation")} is {self.dilation}; give 0 or more voxels')

    def __str__(self) -> str:
        return (
            f'{self.lattice} points per axis, occupied from {self.min_density:g} per meter on, dilated by '
            f'{self.dilation}'
        )


@torch.no_grad()
def predict_grid(
    scene: Scene, ego2lidar: Tensor, classify: Classify | None = None, sampling: GridSampling | None = None
) -> np.ndarray:
    """Predict class numbers ``(200, 200, 16)`` uint8, free where there is nothing.

    Args:
        scene: in the LiDAR frame of a keyframe.
        ego2lidar: ``(4, 4)`` pose of the ego frame of that keyframe in its LiDAR frame.
        classify: tells the class of the densest cell in a voxel; None: everything is "others".
        sampling: when a voxel is occupied; None: the usual.
    """
    sampling = sampling or GridSampling()
    tables = scene.tables()
    rows = torch.cat(list(_densest_rows(scene, tables, ego2lidar.to(tables.logits), sampling.lattice)))
    dense = activate_density(tables.logits, scene.sampling.density_activation) >= sampling.min_density
    dense[scene.grid.empty_row] = False
    occupied = gather_rows(dense, rows)
    grid = torch.full_like(rows, FREE, dtype=torch.uint8)
    if classify is None:
        grid[occupied] = UNKNOWN
    else:
        grid[occupied] = classify(scene.head.opaque(_features(tables, rows[occupied]))).to(grid)
    return dilate(grid.cpu().numpy(), sampling.dilation)


def dilate(grid: np.ndarray, voxels: int) -> np.ndarray:
    """Let everything occupied grow by some voxels along each axis; new voxels have the class of the nearest old one."""
    occupied = grid != FREE
    if voxels < 1 or not occupied.any():
        return grid
    distances, nearest = ndimage.distance_transform_cdt(~occupied, 'chessboard', return_indices=True)
    return np.where(distances <= voxels, grid[tuple(nearest)], FREE).astype(np.uint8)


def classify_codes(features: Tensor) -> Tensor:
    """Return the Occ3D class ``(N,)`` uint8 whose code of MiniTown is most like features ``(N, 64)``; never the sky."""
    known = [number for number in range(len(CLASSES)) if number != SKY]
    codes = torch.from_numpy(code_book()[known]).to(features)
    best = (F.normalize(features, dim=1) @ codes.T).argmax(1)
    return torch.from_numpy(OCC3D_ID[known]).to(features.device)[best]


def choose_classify(
    head: ColorHead | FeatureHead, semantics: str, where: object, name: str = 'semantics'
) -> Classify | None:
    """Return what tells the class of a voxel; None for nothing.

    Args:
        head: of the network.
        semantics: ``codes``: the features are codes of MiniTown's classes; ``none``: everything is "others".
        where: for messages.
        name: what the user calls the setting.

    Raises:
        InputError: the head renders no class codes.
    """
    if semantics == 'none':
        return None
    if head.renders != 'features' or head.settings['out_channels'] != CHANNELS:
        raise InputError(
            f'{where}: {name} codes needs a network that renders the {CHANNELS} channels of the class codes of '
            f'MiniTown, such as model_wrapper_minitown_features.py; give that, or {name} none'
        )
    return classify_codes


def _densest_rows(scene: Scene, tables: VoxelTables, ego2lidar: Tensor, lattice: int) -> Iterator[Tensor]:
    """Yield, slab by slab along x, the row of the tables that the densest point of each voxel hits, ``(x, Y, Z)``."""
    like = {'dtype': ego2lidar.dtype, 'device': ego2lidar.device}
    x, y, z = (low + VOXEL * torch.arange(count, **like) for low, count in zip(LOWER.tolist(), SHAPE, strict=True))
    parts = VOXEL * (torch.arange(lattice, **like) + 0.5) / lattice
    for slab in x.split(max(1, POINTS_PER_CHUNK // (SHAPE[1] * SHAPE[2]))):
        best: Tensor | None = None
        for dx, dy, dz in itertools.product(parts, repeat=3):
            ego = ((slab + dx)[:, None, None], (y + dy)[:, None], z + dz)
            points = [sum(row[i] * ego[i] for i in range(3)) + row[3] for row in ego2lidar[:3]]
            rows = scene.grid.rows_at(scene.space.contract_axes(points))
            logits = gather_rows(tables.logits, rows)
            if best is None:
                best, chosen = logits, rows
            else:
                chosen, best = torch.where(logits > best, rows, chosen), torch.maximum(logits, best)
        yield chosen


def _features(tables: VoxelTables, rows: Tensor) -> Tensor:
    """Return the voxel features ``(N, 2 * channels)``, fine then coarse, of rows that are not empty."""
    fine = torch.cat([tables.fine, tables.coarse.index_select(0, tables.grid.parents)], dim=1)
    return torch.cat([fine, F.pad(tables.coarse, (tables.fine.shape[1], 0))]).index_select(0, rows)
