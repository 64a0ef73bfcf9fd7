"""Register the metric of occupancy: grids of the scenes of the test data against labels of Occ3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import METRICS

from ...semantics.text_encoders import Encoder
from ...utils.errors import InputError, note, warn
from ...utils.files import is_file
from ..metrics import SampleMetric
from .counts import Counts
from .from_scene import GridSampling, predict_grid
from .labels import MASKS, Labels, OccupancyRecord, read_labels
from .voxel_classes import Semantics, VoxelClassifier


@METRICS.register_module()
class OccupancyMetric(SampleMetric):
    """IoU, mIoU and RayIoU of predicted grids, from the voxels and rays of all samples (docs/EVALUATION.md).

    A data sample must hold ``scene_field``, its scene, and ``occupancy`` (:class:`.labels.OccupancyRecord`), as those
    of a dataset with ``gts`` do. Samples without labels do not count, and a warning says how many.

    Results: ``occupancy/iou``, ``miou``, ``miou_star``, ``foreground_miou`` of the voxels of the mask, the same of all
    voxels as ``occupancy/all_voxels/iou``, ..., and ``occupancy/ray_iou``, ``ray_iou_1m``, ``ray_iou_2m``,
    ``ray_iou_4m``, from 0 to 1. Without classes there is IoU alone.

    Args:
        semantics: what tells the class of a voxel: ``codes``, the class codes of MiniTown, ``text``, ``labels`` (of a
            dataset with ``label_maps``), or ``none``.
        lattice, min_density, dilation: when a voxel is occupied (:class:`.from_scene.GridSampling`).
        mask: ``camera`` or ``lidar``; None: all voxels alone.
        ray_iou: RayIoU, too; it needs classes.
        text_encoder, phrases, combine: of ``text``; label_set: of ``labels`` (:class:`.voxel_classes.Semantics`).
        collect_device, prefix, collect_dir: see :class:`..metrics.SampleMetric`.

    Raises:
        InputError: settings that mean nothing.
    """

    default_prefix = 'occupancy'

    def __init__(
        self,
        semantics: str = 'none',
        lattice: int = GridSampling.lattice,
        min_density: float = GridSampling.min_density,
        dilation: int = GridSampling.dilation,
        mask: str | None = 'camera',
        ray_iou: bool = False,
        text_encoder: Encoder = None,
        phrases: Mapping[str, Sequence[str]] | None = None,
        combine: str | None = None,
        label_set: str | None = None,
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.semantics = Semantics(semantics, text_encoder, phrases, combine, label_set)
        self.semantics.check(_setting)
        if mask not in (*MASKS, None):
            raise InputError(f'OccupancyMetric: mask is {mask!r}; choose {", ".join(MASKS)} or None')
        if ray_iou and semantics == 'none':
            raise InputError("OccupancyMetric: ray_iou=True compares classes; set semantics='codes', or leave it away")
        self.sampling = GridSampling(lattice, min_density, dilation)
        self.sampling.check(_setting)
        self.mask, self.ray_iou = mask, ray_iou
        # All samples are of one network.
        self._classifier: VoxelClassifier | None = None
        self._idle_label_maps = False

    def _evaluate(self, sample: Mapping[str, Any]) -> Counts | str:
        """Return what is counted in a sample; of one without labels, their file."""
        record: OccupancyRecord | None = sample.get('occupancy')
        if record is None or not is_file(record.labels):
            return str(sample.get('token') if record is None else record.labels)
        scene = sample['scene_field']
        self._idle_label_maps |= 'label_maps' in sample and self.semantics.kind != 'labels'
        if self._classifier is None:
            self._classifier = VoxelClassifier(self.semantics, scene.head, 'OccupancyMetric')
        classify = self._classifier.of_sample(sample.get('input_views'), sample.get('label_maps'))
        grid = predict_grid(scene, torch.from_numpy(record.ego2lidar), classify, self.sampling)
        return self.count(grid, self.read(record), record)

    def read(self, record: OccupancyRecord) -> Labels:
        """Read the labels of a sample.

        Raises:
            InputError: the file is damaged, or has no such mask.
        """
        return read_labels(record.labels, self.mask)

    def count(self, grid: np.ndarray, truth: Labels, record: OccupancyRecord) -> Counts:
        """Compare a predicted grid with the labels of a sample."""
        counts = Counts()
        origins = record.origins if truth.origins is None else truth.origins
        counts.add(grid, truth, origins if self.ray_iou else None)
        return counts

    def merge(self, results: list[Counts | str]) -> dict[str, float]:
        """Add up what was counted in all samples, and say how."""
        known = [counts for counts in results if isinstance(counts, Counts)]
        if missing := [file for file in results if isinstance(file, str)]:
            warn(
                f'{missing[0]}: no occupancy labels; {len(missing)} of {len(results)} samples have none and do not '
                'count: figures of fewer frames compare with no others'
            )
        if self._idle_label_maps:
            warn("OccupancyMetric: the dataset's label_maps do nothing without semantics='labels'; set it, too")
        if not known:
            return {}
        if empty := sum(not counts.masked.counts.any() for counts in known) if self.mask else 0:
            warn(f'mask_{self.mask} of {empty} of {len(known)} samples has no voxel: only all_voxels has them')
        note(
            f'occupancy of {len(known)} samples: {self.sampling}; classes: {self.semantics}; '
            f'mask: {self.mask or "none"}'
        )
        return self.figures(sum(known, Counts()))

    def resampled(self, scenes: Sequence[Sequence[Counts | str]], weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the figures ``(R,)`` of the counts of scenes that are drawn several times; NaN where there is none."""
        totals = [sum((one for one in scene if isinstance(one, Counts)), Counts()) for scene in scenes]
        return Counts.drawn(totals, weights, self._with_classes)

    def figures(self, counts: Counts) -> dict[str, float]:
        """Return the figures that mean something with these settings, without the prefix."""
        return counts.figures(self._with_classes)

    @property
    def _with_classes(self) -> bool:
        return self.semantics.kind != 'none'


def _setting(name: str) -> str:
    """Return what messages call a setting."""
    return f'OccupancyMetric: {name}'
