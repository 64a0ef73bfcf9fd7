"""Random pixels and LiDAR beams of one drive, a batch of rays per item."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import Dataset

from ..pipelines.maps import check_sky, read_map
from ..utils.errors import InputError
from .beams import Beams, collect_beams
from .drive import Drive, DriveImage
from .evidence import Evidence, gather_evidence
from .feature_maps import FeatureMaps
from .lacks import find_lacks
from .movers import find_moving
from .numbers import check_number
from .settings import SECTION, read_settings
from .sky_labels import CERTAIN, label_sky
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
        beams: those that end on what stands still, or on things that were tracked.
        stands: ``(n,)`` which of these end on what stands still.
        evidence: what all beams say, but for hits on what moves: where things moved, space is free.
        things: what moves.
    """

    beams: Beams
    stands: np.ndarray
    evidence: Evidence
    things: tuple[Thing, ...]

    @classmethod
    def of(cls, drive: Drive, holdout_frames: Collection[int] = ()) -> LidarKnowledge:
        """Read all beams and tell what moves."""
        beams = collect_beams(drive, holdout_frames, SHORTEST_BEAM)
        evidence = gather_evidence(beams)
        moving = find_moving(beams, evidence)
        things = tuple(track_things(beams, moving))
        # Things claim points of which nothing tells whether they move.
        on_things = np.zeros(len(beams), bool)
        for thing in things:
            on_things[thing.beams] = True
        beams, stands = beams[~moving | on_things], ~on_things[~moving | on_things]
        times = evidence.time_of_sweep[beams.sweeps]
        return cls(beams, stands, evidence.with_hits(beams.ends[stands], times[stands]), things)

    @property
    def still(self) -> Beams:
        """Return the beams that end on what stands still, as a copy."""
        return self.beams[self.stands]


def read_sky_masks(images: Sequence[DriveImage], folder: str) -> list[np.ndarray | None]:
    """Read the sky masks ``(h, w)`` of images in a folder laid out as that of a teacher; None where there is none.

    Raises:
        InputError: there is none at all, or one is damaged or upside down.
    """
    hint = 'restore it, or train with scene_nerf.sky_masks=None'
    masks = []
    for image in images:
        path = Path(folder) / image.teacher['sky_mask'] if 'sky_mask' in image.teacher else None
        mask = None if path is None else read_map(path, 2, hint, skip_missing=True)
        if path is not None and mask is not None:
            check_sky(path, mask, hint)
        masks.append(mask)
    if all(mask is None for mask in masks):
        raise InputError(
            f'{folder}: scene_nerf.sky_masks has no sky mask of a keyframe of this scene; give the folder where they '
            'lie as in docs/DATA.md, or None'
        )
    return masks


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
        features: the feature maps of its images; None without.
        sky: ``(n, h, w)`` int8 which pixels are sky (:func:`.sky_labels.label_sky`); None without LiDAR and masks.
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
        self.features = None if settings.features is None else FeatureMaps.check(settings.features, self.images)
        self.lacks = find_lacks(self.drive, settings.holdout_frames, settings.holdout_lidar_frames)
        self.image_size = settings.image_size
        self.num_rays, self.num_beams, self.num_batches, self.seed = num_rays, num_beams, num_batches, seed
        self.pixels = torch.empty(len(self.images), *self.image_size, 3, dtype=torch.uint8)
        for image, pixels in zip(self.images, self.pixels, strict=True):
            pixels.copy_(torch.from_numpy(image.read(*self.image_size)))
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
        self.sky: Tensor | None = None
        if self.drive.sweeps_without(settings.holdout_lidar_frames):
            self.lidar = LidarKnowledge.of(self.drive, settings.holdout_lidar_frames)
            self.beam_times = (self.lidar.beams.point_times / MOMENT).round() * MOMENT
        masks = None if settings.sky_masks is None else read_sky_masks(self.images, settings.sky_masks)
        if self.lidar is not None or masks is not None:
            self.sky = label_sky(cameras, self.pixels, None if self.lidar is None else self.lidar.still, masks)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Return what mmengine writes into checkpoints about the data."""
        return {'scene': self.drive.scene, 'cameras': list(self.drive.cameras)}

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
        known = {} if self.sky is None else {'sky': self.sky[image, row, column].float() / CERTAIN}
        return {
            **known,
            'images': image,
            'times': self.times[image],
            'origins': self.origins[image],
            'directions': torch.nn.functional.normalize(directions, dim=1),
            'colors': self.pixels[image, row, column].float() / 255,
            'jitter': torch.rand(size, generator=generator),
            'places': torch.rand(self.num_rays, 2, generator=generator),
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
