"""How far away things usually are: the median depth of every pixel of a training set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..geometry.views import Views
from .depth import REFERENCES

# Borders of the bins: depths in meters, each 4.4 % more than the one before.
NEAREST, FARTHEST, BINS = 0.5, 128.0, 128


class DepthHistograms:
    """Count the depths of input views, per camera and pixel of a grid of half the images' size.

    The depth is the truth where the training data load it, else the teacher's, else that of LiDAR. What is nearer or
    farther than the bins counts in the first or the last one.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Tensor] = {}

    def watch(self, training: Iterable[Views]) -> Iterator[Views]:
        """Yield the views of a training set as they are, and count their depths."""
        for views in training:
            depth = next((d for d in (getattr(views, field) for field in REFERENCES_BY_TRUST) if d is not None), None)
            if depth is not None:
                rows, columns = (max(1, side // 2) for side in views.images.shape[-2:])
                for name, image in zip(views.names, nearest(depth.cpu(), rows, columns), strict=True):
                    self._count(name, image)
            yield views

    def _count(self, name: str, depth: Tensor) -> None:
        """Count one depth image ``(h, w)``."""
        known = depth.isfinite() & (depth > 0)
        bins = (depth.double() / NEAREST).log() / math.log(FARTHEST / NEAREST) * BINS
        chosen = bins.nan_to_num(0).clamp(0, BINS - 1).long().flatten()
        if name not in self._counts:
            self._counts[name] = torch.zeros(BINS, *depth.shape, dtype=torch.int32)
        counts = self._counts[name].flatten(1)
        counts.scatter_add_(0, chosen[None], known.flatten().int()[None])

    def medians(self) -> dict[str, Tensor]:
        """Return the medians ``(h, w)`` of each camera, z in meters to the middle of a bin.

        A pixel whose depth was never known has the median of its camera; a camera of none is left out.
        """
        found = {}
        for name, counts in self._counts.items():
            total = counts.sum(0)
            if total.any():
                usual = _median(counts.sum((1, 2))[:, None, None])
                found[name] = torch.where(total > 0, _median(counts), usual)
        return found


# Fields of the views, the most trusted first.
REFERENCES_BY_TRUST = tuple(REFERENCES[name] for name in ('', 'teacher', 'lidar'))


def nearest(maps: Tensor, rows: int, columns: int) -> Tensor:
    """Read maps ``(V, h, w)`` at the nearest pixels of a grid that spans them corner to corner."""
    v = torch.linspace(0, maps.shape[1] - 1, rows).round().long()
    u = torch.linspace(0, maps.shape[2] - 1, columns).round().long()
    return maps[:, v[:, None], u]


def _median(counts: Tensor) -> Tensor:
    """Return the middle of the bin in which the lower median of counts ``(BINS, h, w)`` lies, meters."""
    sums = counts.cumsum(0)
    number = (sums * 2 < sums[-1:]).sum(0).clamp(max=BINS - 1)
    return (NEAREST * (FARTHEST / NEAREST) ** ((number + 0.5) / BINS)).float()
