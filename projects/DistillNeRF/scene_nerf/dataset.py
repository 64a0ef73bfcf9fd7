"""Random pixels and LiDAR beams of one drive, a batch of rays per item."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
from .lacks import find_lacks
from .movers import find_moving
from .numbers import check_number
from .settings import SECTION, read_settings
from .tracks import Thing, track_things

# Beams so close in time find moving things at the same place, seconds.
MOMENT = 0.005
# Shorter beams end on the own car, meters.
SHORTEST_BEAM = 2.5


def training_images(drive: Drive, holdout_frames: Collection[int]) -> tuple[DriveImage, ...]:
    """List the images of a drive that are not kept out, in order of time."""
    return drive.images_without(holdout_frames)


@dataclass(frozen=True)
class LidarKnowledge:
    """What the LiDAR of a drive says.

    Attributes:
        beams: those that end on what stands still, and those that end on things that were tracked.
        evidence: what all beams say, but for hits on what moves: where things moved, space is free.
        things: what moves.
    """

    beams: Beams
    evidence: Evidence
    things: tuple[Thing, ...]

    @classmethod
    def of(cls, drive: Drive, holdout_frames: Collection[int] = ()) -> LidarKnowledge:
        """Read all beams and tell what moves."""
        beams = collect_beams(drive, holdout_frames, SHORTEST_BEAM)
        evidence = gather_evidence(beams)
        moving = find_moving(beams, evidence)
        things = tuple(track_things(beams, moving))
        still = beams[~moving]
        used = ~moving
        for thing in things:
            used[thing.beams] = True
        return cls(beams[used], evidence.with_hits(still.ends, evidence.time_of_sweep[still.sweeps]), things)


@FUNCTIONS.register_module()
def only_item(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate a batch of one item, which is a batch of rays itself.

    Raises:
        InputError: there are several.
    """
    if len(batch) > 1:
        raise InputError(
            f'train_dataloader.batch_size is {len(batch)}, but an item is a batch of rays already; give 1, and '
            'train_dataloader.dataset.num_rays for more rays'
        )
    return batch[0]


@DATASETS.register_module()
class DriveRays(Dataset):
    """Batches of pixels and of LiDAR beams; item i is always the same.

    Args:
        scene_nerf: the drive and what is kept out of it (:mod:`.settings`).
        num_rays, num_beams: of a batch.
        num_batches: length of the dataset.
        seed: of all random numbers.

    Attributes:
        drive: the drive.
        images: those that are trained on.
        lidar: what LiDAR says; None without.
        lacks: what the drive lacks, in words.
    """

    def __init__(
        self, scene_nerf: Mapping[str, Any], num_rays: int, num_beams: int, num_batches: int, seed: int = 0
    ) -> None:
        check_number('train_dataloader.dataset.num_rays', num_rays, least=1, whole=True)
        check_number('train_dataloader.dataset.num_beams', num_beams, least=0, whole=True)
        settings = read_settings({SECTION: scene_nerf}, 'the config')
        self.drive = settings.drive()
        self.images = training_images(self.drive, settings.holdout_frames)
        if not self.images:
            raise InputError(f'scene {settings.scene}: all its images are kept out; keep fewer frames out')
        self.lacks = find_lacks(self.drive, settings.holdout_frames, settings.holdout_lidar_frames)
        self.image_size = settings.image_size
        self.num_rays, self.num_beams, self.num_batches, self.seed = num_rays, num_beams, num_batches, seed
        self.pixels = torch.from_numpy(np.stack([image.read(*self.image_size) for image in self.images]))
        cameras = [image.camera_at(*self.image_size) for image in self.images]
        intrinsics, poses = (torch.cat([getattr(c, name) for c in cameras]) for name in ('intrinsics', 'cam2world'))
        # Pixel to direction in the scene, in double precision until here.
        self.rotations = (poses[:, :3, :3] @ intrinsics.inverse()).float()
        self.origins = poses[:, :3, 3].float()
        self.times = torch.tensor([image.timestamp for image in self.images], dtype=torch.float64)
        one_of_each = {image.camera: image for image in self.images}
        self._own_car = torch.from_numpy(np.stack([x.own_car_mask(*self.image_size) for x in one_of_each.values()]))
        if self._own_car.all():
            raise InputError(f'scene {settings.scene}: own_car covers all its images; cover less')
        self._camera = torch.tensor([list(one_of_each).index(image.camera) for image in self.images])
        self.lidar: LidarKnowledge | None = None
        if self.drive.sweeps_without(settings.holdout_lidar_frames):
            self.lidar = LidarKnowledge.of(self.drive, settings.holdout_lidar_frames)
            self.beam_times = (self.lidar.beams.point_times / MOMENT).round() * MOMENT

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(hash((self.seed, index)) % 2**63)
        inputs = self._pixels(generator)
        if self.lidar is not None and self.num_beams:
            inputs |= self._beams(self.lidar.beams, generator)
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
            'times': self.times[image],
            'origins': self.origins[image],
            'directions': torch.nn.functional.normalize(directions, dim=1),
            'colors': self.pixels[image, row, column].float() / 255,
            'jitter': torch.rand(size, generator=generator),
        }

    def _beams(self, beams: Beams, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randint(len(beams), (self.num_beams,), generator=generator).numpy()
        origins, ends, times = (torch.from_numpy(x[chosen]) for x in (beams.origins, beams.ends, self.beam_times))
        return {
            'beam_times': times,
            'beam_origins': origins,
            'beam_ends': ends,
            'beam_jitter': torch.rand(self.num_beams, generator=generator),
        }
