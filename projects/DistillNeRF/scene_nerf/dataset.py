"""Random pixels and LiDAR beams of one drive, a batch of rays per item."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from .movers import find_moving
from .settings import SECTION, read_settings
from .sky_labels import CERTAIN, label_sky

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
        sky: ``(n, h, w)`` int8 which pixels are sky (:func:`.sky_labels.label_sky`); None without LiDAR and masks.
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
        self.beams: Beams | None = None
        self.evidence: Evidence | None = None
        self.sky: Tensor | None = None
        if self.drive.sweeps:
            self.beams, self.evidence = still_beams(self.drive, settings.holdout_lidar_frames)
        masks = None if settings.sky_masks is None else read_sky_masks(self.images, settings.sky_masks)
        if self.beams is not None or masks is not None:
            self.sky = label_sky(cameras, self.pixels, self.beams, masks)

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
        pixels = torch.stack([column, row, torch.ones_like(row)], 1).float()
        directions = (self.rotations[image] * pixels[:, None]).sum(-1)
        known = {} if self.sky is None else {'sky': self.sky[image, row, column].float() / CERTAIN}
        return {
            **known,
            'images': image,
            'origins': self.origins[image],
            'directions': torch.nn.functional.normalize(directions, dim=1),
            'colors': self.pixels[image, row, column].float() / 255,
            'jitter': torch.rand(size, generator=generator),
            'places': torch.rand(self.num_rays, 2, generator=generator),
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
