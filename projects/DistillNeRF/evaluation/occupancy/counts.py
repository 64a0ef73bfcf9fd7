"""Everything that is counted in frames whose true grid is known, for the table of ``tools/test.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from typing_extensions import Self

from .confusion import ConfusionMatrix
from .labels import Labels
from .ray_iou import RayCounts

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

    @classmethod
    def weighted(cls, parts: Sequence[Counts], weights: Sequence[int]) -> Self:
        """Return the counts of parts that are there several times."""

        def total(counts: Callable[[Counts], np.ndarray]) -> np.ndarray:
            return np.tensordot(np.asarray(weights), np.stack([counts(part) for part in parts]), 1)

        return cls(
            ConfusionMatrix(total(lambda part: part.masked.counts)),
            ConfusionMatrix(total(lambda part: part.whole.counts)),
            RayCounts(*(total(lambda part, name=name: getattr(part.rays, name)) for name in RAY_COUNTS)),
        )

    def figures(self, with_classes: bool = True) -> dict[str, float]:
        """Return what is known of ``iou``, ``miou``, ...; of all voxels, as ``all_voxels/iou``, ...; ``ray_iou``, ...

        Args:
            with_classes: all figures; otherwise those that compare occupied with free alone.
        """
        whole = {f'all_voxels/{name}': value for name, value in self.whole.scores().items()}
        figures = self.masked.scores() | whole | self.rays.scores()
        return {
            name: value
            for name, value in figures.items()
            if not math.isnan(value) and (with_classes or name.rpartition('/')[2] == WITHOUT_CLASSES)
        }
