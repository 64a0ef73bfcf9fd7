"""An optional detection head of mmdet3d on the coarse voxels, as an additional loss of the sparse network."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from mmengine.registry import Registry
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from ..geometry.boxes import DETECTION_CLASSES
from ..geometry.contraction import ParameterizedSpace
from ..utils.mmcv_ext import ensure_mmcv_ext
from .scene import Scene

# Height range of the objects in the LiDAR frame, meters, and the number of layers into which it is divided.
LOWEST, HIGHEST, LAYERS = -5.0, 3.0, 8


class DetectionBranch(nn.Module):
    """A bird's-eye view of the coarse voxels, two convolutions, and a head of mmdet3d with its losses.

    The view is the part of the grid in which space is linear, one pixel per coarse cell; in every pixel the voxels of
    each layer of 1 m are averaged. It is used in training only.

    Args:
        space: the parameterized space of the network.
        level: level of the coarse cells.
        channels: channels of a coarse voxel, its density logit included.
        loss_weight: coefficient of all losses of the head.
        width: channels of the bird's-eye view.
        classes: names of the head's classes, in order; boxes of other classes are left out.
        head: config of a mmdet3d head that takes one map of ``width`` channels; ``None`` for CenterPoint's.
    """

    def __init__(
        self,
        space: ParameterizedSpace,
        level: int,
        channels: int,
        loss_weight: float = 0.1,
        width: int = 64,
        classes: Sequence[str] = DETECTION_CLASSES,
        head: dict | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.loss_weight = loss_weight
        self.classes = tuple(classes)
        half = 2 ** (level - 1)
        self.cell = space.inner_range / space.contract_ratio / half
        self.count = 2 * math.floor(space.contract_ratio * half)
        self.neck = nn.Sequential(
            nn.Conv2d(LAYERS * channels, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.ReLU(),
        )
        self.head = _heads().build({'_scope_': 'mmdet3d', **(head or self._center_head(width))})

    @property
    def extent(self) -> float:
        """Return the half side of the view, meters: it reaches from minus this to plus this along x and y."""
        return self.count * self.cell / 2

    def forward(self, scene: Scene) -> Tensor:
        """Compute the bird's-eye view ``(width, count, count)``; rows along y, columns along x."""
        centers = scene.space.expand(scene.grid.centers(scene.grid.coarse_level))
        lower = centers.new_tensor([-self.extent, -self.extent, LOWEST])
        size = centers.new_tensor([self.cell, self.cell, (HIGHEST - LOWEST) / LAYERS])
        x, y, z = ((centers - lower) / size).floor().long().unbind(1)
        inside = (x >= 0) & (x < self.count) & (y >= 0) & (y < self.count) & (z >= 0) & (z < LAYERS)
        voxels = scene.coarse[inside]
        index = ((y * self.count + x) * LAYERS + z)[inside]
        num_bins = self.count**2 * LAYERS
        total = voxels.new_zeros(num_bins, voxels.shape[1]).index_add(0, index, voxels)
        number = voxels.new_zeros(num_bins).index_add(0, index, torch.ones_like(voxels[:, 0]))
        mean = total / number.clamp_min(1)[:, None]
        return self.neck(mean.view(1, self.count, self.count, -1).permute(0, 3, 1, 2))[0]

    def losses(self, scenes: Sequence[Scene], data_samples: Sequence[BaseDataElement]) -> dict[str, Tensor]:
        """Compute losses ``loss_detection_...`` against the samples' boxes (:func:`..geometry.boxes.read_boxes`)."""
        views = torch.stack([self(scene) for scene in scenes])
        boxes = [self._instances(sample) for sample in data_samples]
        losses = self.head.loss_by_feat(self.head([views]), boxes)
        return {
            f'loss_detection_{name.replace(".loss", "")}': self.loss_weight * value for name, value in losses.items()
        }

    def _instances(self, sample: BaseDataElement) -> InstanceData:
        from mmdet3d.structures import LiDARInstance3DBoxes

        chosen = [i for i, name in enumerate(sample.box_names) if name in self.classes]
        labels = [self.classes.index(sample.box_names[i]) for i in chosen]
        boxes = sample.boxes[chosen]
        return InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
            labels_3d=torch.tensor(labels, dtype=torch.long, device=boxes.device),
        )

    def _center_head(self, width: int) -> dict:
        """Return the config of CenterPoint's head (Yin et al., CVPR 2021) with its usual settings, for this view."""
        corner, voxel = [-self.extent, -self.extent], [self.cell, self.cell]
        return {
            'type': 'CenterHead',
            'in_channels': width,
            'tasks': [{'num_class': len(self.classes), 'class_names': list(self.classes)}],
            'common_heads': {'reg': (2, 2), 'height': (1, 2), 'dim': (3, 2), 'rot': (2, 2), 'vel': (2, 2)},
            'separate_head': {'type': 'SeparateHead', 'init_bias': -2.19, 'final_kernel': 3},
            'bbox_coder': {
                'type': 'CenterPointBBoxCoder',
                'pc_range': corner,
                'voxel_size': voxel,
                'out_size_factor': 1,
                'max_num': 500,
                'score_threshold': 0.1,
                'code_size': 9,
            },
            'loss_bbox': {'type': 'mmdet.L1Loss', 'reduction': 'mean', 'loss_weight': 0.25},
            'norm_cfg': {'type': 'GN', 'num_groups': 8},
            'share_conv_channel': width,
            'train_cfg': {
                'point_cloud_range': [*corner, LOWEST, self.extent, self.extent, HIGHEST],
                'grid_size': [self.count, self.count, 1],
                'voxel_size': [*voxel, HIGHEST - LOWEST],
                'out_size_factor': 1,
                'gaussian_overlap': 0.1,
                'max_objs': 500,
                'min_radius': 2,
                'dense_reg': 1,
                'code_weights': [1.0] * 8 + [0.2] * 2,
            },
        }


def _heads() -> Registry:
    """Return the registry with the heads of mmdet3d; their import takes seconds, so it is delayed until here."""
    ensure_mmcv_ext()
    importlib.import_module('mmdet3d.models')
    return MODELS
