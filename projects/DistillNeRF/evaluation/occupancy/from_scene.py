"""Predict the grid of Occ3D-nuScenes from a scene."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ...models.scene import Scene
from ...models.voxel_field import MIN_DENSITY
from ...semantics.occ3d import FREE
from ...utils.errors import InputError
from .scene_voxels import SceneVoxels

# The class of what is occupied, where nothing says by what.
UNKNOWN = 0
# In the place of a class: no image shows this voxel.
UNSEEN = 255

# Occ3D classes ``(N,)`` uint8 of N voxels, or :data:`UNSEEN`.
Classify = Callable[[SceneVoxels], Tensor]


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
        classify: tells the classes of voxels; None: everything is "others".
        sampling: when a voxel is occupied; None: the usual.
    """
    sampling = sampling or GridSampling()
    voxels = SceneVoxels.find(scene, ego2lidar, sampling.lattice, sampling.min_density)
    return finish_grid(voxels.grid(classes_of(voxels, classify)), sampling.dilation)


def classes_of(voxels: SceneVoxels, classify: Classify | None) -> Tensor:
    """Return the classes ``(N,)`` uint8 of voxels, :data:`UNSEEN` where nothing is known; all "others" for None."""
    return torch.full_like(voxels.indices, UNKNOWN, dtype=torch.uint8) if classify is None else classify(voxels)


def finish_grid(grid: np.ndarray, dilation: int) -> np.ndarray:
    """Give unseen voxels the class of the nearest seen one, "others" if there is none; then dilate the grid."""
    return dilate(_fill_unseen(grid), dilation)


def _fill_unseen(grid: np.ndarray) -> np.ndarray:
    """Replace :data:`UNSEEN`."""
    unseen = grid == UNSEEN
    if not unseen.any():
        return grid
    seen = grid < FREE
    if not seen.any():
        return np.where(unseen, UNKNOWN, grid).astype(np.uint8)
    nearest = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    return np.where(unseen, grid[tuple(nearest)], grid)


def dilate(grid: np.ndarray, voxels: int) -> np.ndarray:
    """Let everything occupied grow by some voxels along each axis; new voxels have the class of the nearest old one."""
    occupied = grid != FREE
    if voxels < 1 or not occupied.any():
        return grid
    distances, nearest = ndimage.distance_transform_cdt(~occupied, 'chessboard', return_indices=True)
    return np.where(distances <= voxels, grid[tuple(nearest)], FREE).astype(np.uint8)
