"""Stack the loaded views of a sample into ``Views``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmengine.structures import BaseDataElement
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.views import Views

_META = ('token', 'scene', 'frame', 'timestamp', 'sample_idx', 'notes')
_MAPS = ('lidar_depth', 'teacher_depth', 'sky_mask', 'features', 'true_depth', 'moving', 'true_classes')
# Of input views alone: nothing reads it of targets, and it is large.
_INPUT_MAPS = (*_MAPS, 'depth_features')
# Of views of the past nothing else is used.
_PAST_MAPS = ('depth_features',)


@TRANSFORMS.register_module()
class PackViews(BaseTransform):
    """Pack a sample; the last transform.

    ``{'inputs': {'input_views': Views, 'target_views': Views}, 'data_samples': BaseDataElement}`` with ``token``,
    ``scene``, ``frame``, ``timestamp``, ``sample_idx`` and ``notes`` (what had to be left out) as metainfo.
    If boxes were asked for, it holds them as ``boxes`` ``(N, 9)`` and their ``box_names``. In a dataset with ``gts``
    ``occupancy`` is metainfo, too (:class:`..evaluation.occupancy.labels.OccupancyRecord`), with ``label_maps`` these
    (:class:`..evaluation.occupancy.label_maps.LabelMap`), and in one with a ``protocol``
    ``protocol``: ``{'colors': {group: units}, 'depths': ...}``, a unit being the positions of target views
    that are scored together.
    In a dataset with ``num_past`` the input views have the views of the past (:attr:`Views.past`), if there are any.
    Cameras are resized with their images (:meth:`Cameras.resized`). Maps that no view was asked for are None; maps
    that are missing are NaN.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack the views in the order of ``input_keys`` and ``target_keys``."""
        views = results['views']
        sample = BaseDataElement(metainfo={key: results[key] for key in _META})
        if 'boxes' in results:
            boxes, names = results['boxes']
            sample.set_metainfo({'box_names': names})
            sample.boxes = torch.from_numpy(boxes)
        sample.set_metainfo({key: results[key] for key in ('occupancy', 'label_maps', 'protocol') if key in results})
        inputs = stack_views([views[key] for key in results['input_keys']], _INPUT_MAPS)
        if past := list(results.get('past_views', {}).values()):
            inputs = replace(inputs, past=stack_views(past, _PAST_MAPS))
        return {
            'inputs': {
                'input_views': inputs,
                'target_views': stack_views([views[key] for key in results['target_keys']]),
            },
            'data_samples': sample,
        }


def stack_views(views: Sequence[dict[str, Any]], maps: Sequence[str] = _MAPS) -> Views:
    """Stack loaded views with these maps; their images must have one size, their native sizes may differ."""
    images = torch.from_numpy(np.stack([view['image'] for view in views]))
    return Views(
        images=images,
        cameras=_stack_cameras(views, *images.shape[-2:]),
        names=tuple(view['name'] for view in views),
        frames=tuple(view['frame'] for view in views),
        **{name: _stack_maps(views, name) for name in maps if name in views[0]},
    )


def _stack_cameras(views: Sequence[dict[str, Any]], height: int, width: int) -> Cameras:
    intrinsics = []
    for view in views:
        matrix, pose = torch.from_numpy(view['intrinsics']), torch.from_numpy(view['cam2world'])
        intrinsics.append(Cameras(matrix, pose, view['height'], view['width']).resized(height, width).intrinsics)
    poses = torch.from_numpy(np.stack([view['cam2world'] for view in views]))
    return Cameras(torch.stack(intrinsics).float(), poses.float(), height, width)


def _stack_maps(views: Sequence[dict[str, Any]], name: str) -> Tensor:
    """Stack one kind of map; a missing one (None) becomes NaN of the size of the others, or of one pixel."""
    one_pixel = (1,) * (3 if name == 'features' else 2)
    shape = next((view[name].shape for view in views if view[name] is not None), one_pixel)
    unknown = np.full(shape, np.nan, np.float32)
    return torch.from_numpy(np.stack([unknown if view[name] is None else view[name] for view in views]))
