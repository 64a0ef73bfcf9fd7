"""Measure occupancy that needs no model on the test data of a config, as its metric measures the model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.config import Config

from ..configuration.config import building
from ..datasets.dataset import DistillNeRFDataset, own_datasets
from ..evaluation.occupancy.baselines import guesses
from ..evaluation.occupancy.counts import Counts
from ..geometry.poses import inverse_pose
from ..pipelines.lidar import read_points
from ..utils.errors import warn
from ..utils.files import is_file
from .builders import build_dataset


def occupancy_baselines(config: Config, settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of nothing, of everything, of LiDAR points and of the truth itself, on samples with labels.

    Args:
        config: as loaded.
        settings: of the metric, with its type.

    Returns:
        ``nothing/occupancy/iou``, ``everything/...``, ``lidar_points/...`` (where samples have LiDAR; of those),
        ``oracle/...``.
    """
    datasets = own_datasets(build_dataset(config, 'test'))
    with building(config):
        metric = METRICS.build(dict(settings))
    counts: dict[str, Counts] = {}
    samples = without_lidar = 0
    for info in _labeled(datasets):
        record = info['occupancy']
        truth, points = metric.read(record), lidar_points(info)
        for name, grid in guesses(truth.semantics, points).items():
            counts[name] = counts.get(name, Counts()) + metric.count(grid, truth, record)
        samples, without_lidar = samples + 1, without_lidar + (points is None)
    if 0 < without_lidar < samples:
        warn(f'{without_lidar} of {samples} samples have no LiDAR: the baseline lidar_points is of the others')
    figures = {name: metric.figures(counted) for name, counted in counts.items()}
    return {f'{name}/{metric.prefix}/{key}': value for name, row in figures.items() for key, value in row.items()}


def _labeled(datasets: Sequence[DistillNeRFDataset]) -> Iterator[dict[str, Any]]:
    """Yield what is known of every sample that has labels, before its files are loaded."""
    for dataset in datasets:
        for number in range(len(dataset) if dataset.gts is not None else 0):
            info = dataset.get_data_info(number)
            if is_file(info['occupancy'].labels):
                yield info


def lidar_points(info: Mapping[str, Any]) -> np.ndarray | None:
    """Return the points ``(n, 3)`` of the LiDAR of a sample in its ego frame, meters; None if it has none.

    Args:
        info: of the dataset, before files are loaded.
    """
    sweeps = info['views'][info['input_keys'][0]].get('lidar')
    if not sweeps:
        return None
    lidar2ego = inverse_pose(info['occupancy'].ego2lidar)
    parts = []
    for sweep in sweeps:
        pose = lidar2ego @ sweep['lidar2world']
        parts.append(read_points(sweep['path'], sweep['columns'])[:, :3] @ pose[:3, :3].T + pose[:3, 3])
    return np.concatenate(parts)
