"""A teacher that knows the truth about a drive through the town of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.scene_nerf.drive import Drive, DriveImage, load_drive
from projects.DistillNeRF.scene_nerf.teacher import TeacherRendering
from projects.MiniTown.rig import Lidar
from projects.MiniTown.scene import FIRST
from tests.helpers.boxtown import BoxTown


def town_drive(root, scene: str = 'minitown-0001') -> Drive:
    """Return the drive through a scene of the fixture ``town``."""
    files = [str(root / f'minitown_infos_{split}.pkl') for split in ('train', 'val')]
    return load_drive(files, scene, dict.fromkeys(('img', 'lidar', 'truth'), str(root)))


@dataclass
class Oracle:
    """Render what the town of boxes shows.

    Attributes:
        drive: the drive; its scene frame is the LiDAR frame of the first keyframe.
        color: whether it tells colors and what moves.
        blind: share of the columns of each image, on the left, of which it knows nothing.
        scale: factor of its depth, other than 1 if it is wrong.
        calls: how many views it rendered.
    """

    drive: Drive
    color: bool = True
    blind: float = 0.0
    scale: float = 1.0
    calls: int = 0

    def render(
        self, cameras: Cameras, timestamp: float, recorded: Sequence[DriveImage | None] = ()
    ) -> TeacherRendering:
        """Render all cameras at a time."""
        self.calls += len(cameras)
        town, first = BoxTown(), next(sweep for sweep in self.drive.sweeps if sweep.frame == self.drive.keyframes[0])
        scene2town = town.ego_pose(FIRST * 1e-6) @ Lidar().lidar2ego
        time = FIRST * 1e-6 + timestamp - first.timestamp
        height, width = cameras.height, cameras.width
        shown = [
            town.render(k.double().numpy(), scene2town @ pose.double().numpy(), height, width, time)
            for k, pose in zip(cameras.intrinsics, cameras.cam2world, strict=True)
        ]
        depth = torch.from_numpy(np.stack([one.depth for one in shown])) * self.scale
        sky = depth.isnan().float()
        unknown = torch.arange(width) < round(self.blind * width)
        depth[..., unknown], sky[..., unknown] = torch.nan, torch.nan
        if not self.color:
            return TeacherRendering(depth, sky)
        image = torch.from_numpy(np.stack([one.rgb for one in shown])).permute(0, 3, 1, 2) / 255
        image[..., unknown] = torch.nan
        moving = torch.from_numpy(np.stack([one.instances for one in shown]) >= 0).float()
        return TeacherRendering(depth, sky, image, moving)
