"""True views of MiniTown as the targets of test data, for the protocol ``true_views``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from ..datasets.availability import OTHER_FRAMES, Availability
from ..datasets.dataset import DistillNeRFDataset
from ..geometry.trajectories import distinct
from ..geometry.trajectories import trajectory as named_trajectory
from ..geometry.views import Views
from .evaluate_novel_views import TrueImages, pose_label

# The group of all poses.
MEAN = 'poses'


@DATASETS.register_module()
class TrueViewDataset(Dataset):
    """Samples of a MiniTown whose targets are what its cameras would see at every distinct pose of a trajectory.

    Args:
        dataset: config of a :class:`..datasets.dataset.DistillNeRFDataset` in test mode.
        trajectory: its name, or its JSON file.

    Attributes:
        motions: ``(n, 4, 4)`` of the rig, in the LiDAR frame of the keyframe.

    Raises:
        InputError: no MiniTown, or no such trajectory.
    """

    def __init__(self, dataset: dict[str, Any], trajectory: str = 'left_right') -> None:
        self.dataset: DistillNeRFDataset = DATASETS.build(dataset)
        self.motions = distinct(named_trajectory(trajectory))
        self.trajectory = trajectory
        self._truth = TrueImages(self.dataset.data_root)
        self.full_init()

    def full_init(self) -> None:
        """Read the info file; every sample has views of other poses."""
        self.dataset.full_init()
        self.dataset.availability[OTHER_FRAMES] = Availability(len(self), len(self))

    @property
    def metainfo(self) -> dict[str, Any]:
        """Return what the info file says of itself."""
        return self.dataset.metainfo

    @property
    def scored_images(self) -> int:
        """Return how many images are rendered and compared."""
        return len(self) * len(self.motions) * len(self.dataset.cameras)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Load a sample and render its targets.

        Raises:
            InputError: the town does not look as it did when its images were made.
        """
        sample = self.dataset[index]
        views, meta = sample['inputs']['input_views'], sample['data_samples']
        self._truth.check(views, meta.scene, meta.frame)
        poses = [self._truth.views(views, meta.scene, meta.frame, motion) for motion in self.motions]
        sample['inputs']['target_views'] = joined(poses)
        groups = [list(range(first, first + len(views))) for first in range(0, len(poses) * len(views), len(views))]
        scored = {pose_label(motion): [group] for motion, group in zip(self.motions, groups, strict=True)}
        meta.set_metainfo({'protocol': {'colors': {MEAN: groups, **scored}, 'depths': {MEAN: groups}}})
        return sample


def joined(parts: Sequence[Views]) -> Views:
    """Return the views of all parts, one after the other; maps that some lack are left out."""
    first = parts[0]
    maps = {}
    for field in dataclasses.fields(Views):
        values = [getattr(part, field.name) for part in parts]
        if all(isinstance(value, Tensor) for value in values):
            maps[field.name] = torch.cat(values)
    cameras = dataclasses.replace(
        first.cameras,
        intrinsics=torch.cat([part.cameras.intrinsics for part in parts]),
        cam2world=torch.cat([part.cameras.cam2world for part in parts]),
    )
    names, frames = (tuple(value for part in parts for value in getattr(part, name)) for name in ('names', 'frames'))
    return Views(cameras=cameras, names=names, frames=frames, **maps)
