"""The cheap teacher: all LiDAR of a drive, drawn into a camera."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from typing_extensions import Self

from ..geometry.cameras import Cameras
from .beams import Beams, collect_beams
from .drive import Drive
from .evidence import gather_evidence
from .movers import find_moving
from .splatting import blend, nearest_depth
from .surfaces import Surfaces, fit_surfaces
from .teacher import TeacherRendering

# Sides of the voxels whose points become one disc, meters.
DISC_VOXEL = 0.1
SPREAD, SMALLEST, LARGEST, FACING = 0.8, 0.05, 0.3, 0.07
THICKNESS = 0.02
NEAREST = 0.5
SAME_INSTANT = 0.06


@dataclass(frozen=True)
class LidarTeacher:
    static: Surfaces
    moving_points: np.ndarray
    moving_sweeps: np.ndarray
    times: np.ndarray

    @classmethod
    def from_drive(cls, drive: Drive, exclude_frames: Collection[int] = (), voxel: float = 0.2, reach: float = 100.0) -> Self:
        beams = collect_beams(drive, exclude_frames)
        moving = find_moving(beams, gather_evidence(beams, voxel, reach))
        return cls(fit_surfaces(beams.ends[~moving], DISC_VOXEL), beams.ends[moving], beams.sweeps[moving], beams.times)

    def render(self, cameras: Cameras, timestamp: float) -> TeacherRendering:
        sweep = int(np.abs(self.times - timestamp).argmin())
        at = self.moving_sweeps == sweep
        if abs(self.times[sweep] - timestamp) > SAME_INSTANT:
            at[:] = False
        movers = fit_surfaces(self.moving_points[at], DISC_VOXEL)
        centers = np.concatenate([self.static.centers, movers.centers]).astype(float)
        normals = np.concatenate([self.static.normals, movers.normals]).astype(float)
        spacing = np.concatenate([self.static.spacing, movers.spacing]).astype(float)
        radii = np.clip(SPREAD * spacing, SMALLEST, np.where(np.isnan(normals[:, 0]), FACING, LARGEST))
        values = np.zeros((len(centers), 1)); values[len(self.static.centers):] = 1
        out = []
        for camera in cameras:
            c2w = camera.cam2world.double().cpu().numpy(); K = camera.intrinsics.double().cpu().numpy()
            c = (centers - c2w[:3, 3]) @ c2w[:3, :3]; n = normals @ c2w[:3, :3]
            dirs = camera.pixel_directions(camera.height, camera.width).double().cpu().numpy()
            front = nearest_depth(c, n, radii, K, dirs, NEAREST)
            out.append(blend(c, n, radii, values, K, dirs, NEAREST, front, THICKNESS))
        out = torch.from_numpy(np.stack(out)).float()
        return TeacherRendering(out[..., 0], torch.zeros_like(out[..., 0]), None, out[..., 1])
