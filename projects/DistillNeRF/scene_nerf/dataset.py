"""Random pixels and LiDAR beams of one drive, a batch of rays per item."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import Dataset

from ..utils.errors import InputError
from .beams import Beams, collect_beams
from .drive import Drive, DriveImage
from .evidence import Evidence, gather_evidence
from .movers import find_moving
from .settings import SECTION, read_settings

# Shorter beams end on the own car, meters.
SHORTEST_BEAM = 2.5


def training_images(drive: Drive, holdout_frames: Collection[int]) -> tuple[DriveImage, ...]:
    """List the images of a drive that are not kept out, in order of time."""
    return tuple(image for image in drive.images if image.frame is None or image.frame not in holdout_frames)


def still_beams(drive: Drive, holdout_frames: Collection[int] = ()) -> tuple[Beams, Evidence]:
    """Read the beams that end on what stands still, and what all beams say: where things moved, space is free."""
    beams = collect_beams(drive, holdout_frames, SHORTEST_BEAM)
    evidence = gather_evidence(beams)
    still = beams[~find_moving(beams, evidence)]
    return still, evidence.with_hits(still.ends, evidence.time_of_sweep[still.sweeps])


@FUNCTIONS.register_module()
def only_item(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate a batch of one item, which is a batch of rays itself."""
    (item,) = batch
    return item


@DATASETS.register_module()
class DriveRays(Dataset):
    """Batches of pixels, and of LiDAR beams on what stands still; item i is always the same.

    Args:
        scene_nerf: the drive and what is kept out of it (:mod:`.settings`).
        num_rays, num_beams: of a batch.
        num_batches: length of the dataset.
        seed: of all random numbers.

    Attributes:
        drive: the drive.
        images: those that are trained on.
        beams: those that end on what stands still; None without LiDAR.
        evidence: what all beams say, but for hits on what moves; None without LiDAR.
    """

    def __init__(
        self, scene_nerf: Mapping[str, Any], num_rays: int, num_beams: int, num_batches: int, seed: int = 0
    ) -> None:
        settings = read_settings({SECTION: scene_nerf}, 'the config')
        self.drive = settings.drive()
        self.images = training_images(self.drive, settings.holdout_frames)
        if not self.images:
            raise InputError(f'scene {settings.scene}: all its images are kept out; keep fewer frames out')
        self.image_size = settings.image_size
        self.num_rays, self.num_beams, self.num_batches, self.seed = num_rays, num_beams, num_batches, seed
        self.pixels = torch.from_numpy(np.stack([image.read(*self.image_size) for image in self.images]))
        cameras = [image.camera_at(*self.image_size) for image in self.images]
        intrinsics, poses = (torch.cat([getattr(c, name) for c in cameras]) for name in ('intrinsics', 'cam2world'))
        # Pixel to direction in the scene, in double precision until here.
        self.rotations = (poses[:, :3, :3] @ intrinsics.inverse()).float()
        self.origins = poses[:, :3, 3].float()
        one_of_each = {image.camera: image for image in self.images}
        self._own_car = torch.from_numpy(np.stack([x.own_car_mask(*self.image_size) for x in one_of_each.values()]))
        if self._own_car.all():
            raise InputError(f'scene {settings.scene}: own_car covers all its images; cover less')
        self._camera = torch.tensor([list(one_of_each).index(image.camera) for image in self.images])
        self.beams: Beams | None = None
        self.evidence: Evidence | None = None
        if self.drive.sweeps:
            self.beams, self.evidence = still_beams(self.drive, settings.holdout_lidar_frames)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(hash((self.seed, index)) % 2**63)
        inputs = self._pixels(generator)
        if self.beams is not None:
            inputs |= self._beams(generator)
        return {'inputs': inputs}

    def _pixels(self, generator: torch.Generator) -> dict[str, Tensor]:
        height, width = self.image_size
        size = (self.num_rays,)
        image, row, column = (torch.randint(n, size, generator=generator) for n in (len(self.images), height, width))
        while len(again := self._own_car[self._camera[image], row, column].nonzero().flatten()):
            for drawn, n in ((image, len(self.images)), (row, height), (column, width)):
                drawn[again] = torch.randint(n, (len(again),), generator=generator)
        pixels = torch.stack([column, row, torch.ones_like(row)], 1).float()
        directions = (self.rotations[image] * pixels[:, None]).sum(-1)
        return {
            'images': image,
            'origins': self.origins[image],
            'directions': torch.nn.functional.normalize(directions, dim=1),
            'colors': self.pixels[image, row, column].float() / 255,
            'jitter': torch.rand(size, generator=generator),
        }

    def _beams(self, generator: torch.Generator) -> dict[str, Tensor]:
        assert self.beams is not None
        chosen = torch.randint(len(self.beams), (self.num_beams,), generator=generator).numpy()
        origins, ends = (torch.from_numpy(x[chosen]) for x in (self.beams.origins, self.beams.ends))
        return {
            'beam_origins': origins,
            'beam_ends': ends,
            'beam_jitter': torch.rand(self.num_beams, generator=generator),
        }
