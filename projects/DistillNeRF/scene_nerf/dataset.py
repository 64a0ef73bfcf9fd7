"""Random pixels and LiDAR beams of one drive, a batch of rays per item."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from .beams import Beams, collect_beams
from .drive import Drive, DriveImage, load_drive
from .evidence import gather_evidence
from .movers import find_moving

# Shorter beams end on the own car, meters.
SHORTEST_BEAM = 2.5


def training_images(drive: Drive, holdout_frames: Collection[int]) -> tuple[DriveImage, ...]:
    """List the images of a drive that are not kept out, in order of time."""
    return tuple(image for image in drive.images if image.frame is None or image.frame not in holdout_frames)


@DATASETS.register_module()
class DriveRays(Dataset):
    """Batches of pixels, and of LiDAR beams on what stands still; item i is always the same.

    Args:
        ann_files, scene, roots: of :func:`.drive.load_drive`.
        image_size: (height, width) of the images.
        num_rays, num_beams: of a batch.
        num_batches: length of the dataset.
        holdout_frames, holdout_lidar_frames: keyframes whose images, and whose sweeps, are kept out.
        seed: of all random numbers.
    """

    def __init__(
        self,
        ann_files: Sequence[str],
        scene: str,
        roots: dict[str, str],
        image_size: tuple[int, int],
        num_rays: int,
        num_beams: int,
        num_batches: int,
        holdout_frames: Collection[int] = (),
        holdout_lidar_frames: Collection[int] = (),
        seed: int = 0,
    ) -> None:
        self.drive = load_drive(ann_files, scene, roots)
        self.images = training_images(self.drive, holdout_frames)
        self.image_size = tuple(image_size)
        self.num_rays, self.num_beams, self.num_batches, self.seed = num_rays, num_beams, num_batches, seed
        self.pixels = torch.from_numpy(np.stack([image.read(*self.image_size) for image in self.images]))
        cameras = [image.camera_at(*self.image_size) for image in self.images]
        intrinsics, poses = (torch.cat([getattr(c, name) for c in cameras]) for name in ('intrinsics', 'cam2world'))
        # Pixel to direction in the scene, in double precision until here.
        self.rotations = (poses[:, :3, :3] @ intrinsics.inverse()).float()
        self.origins = poses[:, :3, 3].float()
        self.beams, self.moving = self._beams(holdout_lidar_frames)

    def _beams(self, holdout_frames: Collection[int]) -> tuple[Beams | None, np.ndarray]:
        """Read the beams, and tell which of them end on what moves."""
        if not self.drive.sweeps:
            return None, np.zeros(0, bool)
        beams = collect_beams(self.drive, holdout_frames, SHORTEST_BEAM)
        return beams, find_moving(beams, gather_evidence(beams))

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(hash((self.seed, index)) % 2**63)
        inputs = self._pixels(generator)
        if self.beams is not None:
            inputs |= self._still_beams(generator)
        return {'inputs': inputs}

    def _pixels(self, generator: torch.Generator) -> dict[str, Tensor]:
        height, width = self.image_size
        size = (self.num_rays,)
        image, row, column = (torch.randint(n, size, generator=generator) for n in (len(self.images), height, width))
        pixels = torch.stack([column, row, torch.ones_like(row)], 1).float()
        directions = (self.rotations[image] * pixels[:, None]).sum(-1)
        return {
            'images': image,
            'origins': self.origins[image],
            'directions': torch.nn.functional.normalize(directions, dim=1),
            'colors': self.pixels[image, row, column].float() / 255,
            'jitter': torch.rand(size, generator=generator),
        }

    def _still_beams(self, generator: torch.Generator) -> dict[str, Tensor]:
        assert self.beams is not None
        still = np.flatnonzero(~self.moving)
        chosen = still[torch.randint(len(still), (self.num_beams,), generator=generator).numpy()]
        origins, ends = (torch.from_numpy(x[chosen]) for x in (self.beams.origins, self.beams.ends))
        return {
            'beam_origins': origins,
            'beam_ends': ends,
            'beam_jitter': torch.rand(self.num_beams, generator=generator),
        }
