"""Everything that is counted in frames whose true grid is known, for the table of ``tools/test.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from typing_extensions import Self

from .confusion import ConfusionMatrix, voxel_scores
from .labels import Labels
from .ray_iou import RayCounts, ray_scores

# Fields of RayCounts.
RAY_COUNTS = ('truth', 'predicted', 'correct')
# What means something where everything occupied is "others".
WITHOUT_CLASSES = 'iou'


@dataclass(frozen=True)
class Counts:
    """Voxels and rays of some frames; those of parts of a data set, such as of several ranks, are merged by ``+``.

    Attributes:
        masked: voxels that the mask of the labels leaves; empty if there is none.
        whole: all voxels.
        rays: empty if RayIoU was not asked for.
    """

    masked: ConfusionMatrix = field(default_factory=ConfusionMatrix)
    whole: ConfusionMatrix = field(default_factory=ConfusionMatrix)
    rays: RayCounts = field(default_factory=RayCounts)

    def add(self, prediction: np.ndarray, truth: Labels, origins: np.ndarray | None = None) -> None:
        """Count a frame.

        Args:
            prediction: ``(200, 200, 16)`` uint8 class numbers.
            truth: its labels.
            origins: ``(n, 3)`` where rays start, meters in the ego frame; None: no rays.
        """
        self.whole.add(prediction, truth.semantics)
        if truth.mask is not None:
            self.masked.add(prediction, truth.semantics, truth.mask)
        if origins is not None:
            self.rays.add(prediction, truth.semantics, origins)

    def __add__(self, other: Self) -> Self:
        """Return the counts of both parts of a data set."""
        return type(self)(self.masked + other.masked, self.whole + other.whole, self.rays + other.rays)

    @staticmethod
    def drawn(parts: Sequence[Counts], weights: np.ndarray, with_classes: bool = True) -> dict[str, np.ndarray]:
        """Return the :meth:`figures` ``(R,)`` of parts that are there several times; NaN where there is none.

        Args:
            parts: S of them, one at least.
            weights: ``(R, S)`` how often each is there.
            with_classes: see :meth:`figures`.
        """

        def totals(counts: Callable[[Counts], np.ndarray]) -> np.ndarray:
            return np.tensordot(weights, np.stack([counts(part) for part in parts]), 1)

        masked, whole = totals(lambda part: part.masked.counts), totals(lambda part: part.whole.counts)
        rays = (totals(lambda part, name=name: getattr(part.rays, name)) for name in RAY_COUNTS)
        return _known(voxel_scores(masked), voxel_scores(whole), ray_scores(*rays), with_classes)

    def figures(self, with_classes: bool = True) -> dict[str, float]:
        """Return what is known of ``iou``, ``miou``, ...; of all voxels, as ``all_voxels/iou``, ...; ``ray_iou``, ...

        Args:
            with_classes: all figures; otherwise those that compare occupied with free alone.
        """
        return _known(self.masked.scores(), self.whole.scores(), self.rays.scores(), with_classes)


Figures = TypeVar('Figures', float, np.ndarray)


def _known(
    masked: Mapping[str, Figures], whole: Mapping[str, Figures], rays: Mapping[str, Figures], with_classes: bool
) -> dict[str, Figures]:
    """Name the figures of voxels and rays; leave out those that are NaN, and those of classes if they mean nothing."""
    figures = {**masked, **{f'all_voxels/{name}': value for name, value in whole.items()}, **rays}
    return {
        name: value
        for name, value in figures.items()
        if not np.isnan(value).all() and (with_classes or name.rpartition('/')[2] == WITHOUT_CLASSES)
    }
