"""Register the metrics of protocols: the usual figures, of the groups of views that a protocol names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS

from ..depth import average
from ..metrics import DepthMetric, ImageMetric
from ..report import key, places

# The group of views that are inputs, too.
RECONSTRUCTION = ''


class UnitFigures(dict):
    """Figures of a sample: the means over its units, the images or groups of images that are scored on their own.

    Attributes:
        units: the figures of each.
    """

    def __init__(self, units: Sequence[Mapping[str, float]] = ()) -> None:
        super().__init__(average([dict(unit) for unit in units]))
        self.units = list(units)


class _OfProtocol:
    """Evaluate each unit of a protocol's groups as a sample of its own, and merge by units, so that each counts once.

    A data sample must hold ``protocol``, what the dataset says of its groups and their units, beside what the metric
    needs.
    """

    # Of what the groups are: ``colors`` or ``depths``.
    KIND: str

    def _units(self, sample: dict) -> Iterator[tuple[str, dict]]:
        """Yield the name of a group and a unit of it, as a sample whose targets are all inputs."""
        for group, units in sample['protocol'][self.KIND].items():
            if self._scores(group):
                yield from ((group, _part(sample, positions)) for positions in units)

    def _scores(self, group: str) -> bool:
        return True

    def _evaluate(self, sample: dict) -> UnitFigures:
        """Return the figures of all units of a sample."""
        units = []
        for group, part in self._units(sample):
            figures = super()._evaluate(part)
            units.append({key(group, name): value for name, value in figures.items()})
        return UnitFigures(units)

    def merge(self, results: list[UnitFigures]) -> dict[str, float]:
        """Average over the units that have the figure."""
        return super().merge([unit for result in results for unit in result.units])

    def resampled(self, scenes: Sequence[Sequence[UnitFigures]], weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return what :meth:`merge` would give of scenes that are drawn several times."""
        units = [[unit for result in scene for unit in result.units] for scene in scenes]
        return super().resampled(units, weights)


def _part(sample: dict, positions: Sequence[int]) -> dict[str, Any]:
    """Return the sample of some of its target views alone; the metrics take them for input views."""
    chosen = places(positions)
    views = sample['target_views'][chosen]
    views = dataclasses.replace(views, frames=(0,) * len(positions))
    rendered = {name: sample[name][chosen] for name in ('rgb', 'depth', 'opacity') if sample.get(name) is not None}
    return {**rendered, 'input_views': views, 'target_views': views}


@METRICS.register_module()
class ProtocolImageMetric(_OfProtocol, ImageMetric):
    """The figures of :class:`..metrics.ImageMetric` of the groups of a protocol: ``psnr``, ``novel/psnr``, ...

    Args:
        reconstruction: report the group of views that are inputs, too.
        novel_view: report the other groups.
        settings: of :class:`..metrics.ImageMetric`.
    """

    KIND = 'colors'

    def __init__(self, reconstruction: bool = True, novel_view: bool = True, **settings: Any) -> None:
        super().__init__(reconstruction=True, novel_view=False, **settings)
        self._groups_scored = {True: reconstruction, False: novel_view}

    def _scores(self, group: str) -> bool:
        return self._groups_scored[group == RECONSTRUCTION]


@METRICS.register_module()
class ProtocolDepthMetric(_OfProtocol, DepthMetric):
    """The figures of :class:`..metrics.DepthMetric` of the groups of a protocol.

    Of the input views those of the coarse and the fine estimate, too, where their rendered depth is scored.

    Args:
        published_quirks, collect_device, prefix, collect_dir: see :class:`..metrics.DepthMetric`.
    """

    KIND = 'depths'

    def _evaluate(self, sample: dict) -> UnitFigures:
        """Return the figures of all units of a sample, and those of its estimates."""
        figures = super()._evaluate(sample)
        if RECONSTRUCTION not in sample['protocol'][self.KIND]:
            return figures
        nothing = sample['target_views'][[]]
        estimates = {**sample, 'target_views': nothing, 'depth': sample['depth'][:0]}
        return UnitFigures([*figures.units, DepthMetric._evaluate(self, estimates)])
