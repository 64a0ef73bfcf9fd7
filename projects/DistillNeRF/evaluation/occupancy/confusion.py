"""IoU of classes and of occupied space, from one confusion matrix over a data set (docs/EVALUATION.md#voxels)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from typing_extensions import Self

from ...semantics.classes import OCC3D_CLASSES
from ...semantics.occ3d import FREE
from .places import places_of

COUNT = len(OCC3D_CLASSES)
# All but "others" and "other_flat", which have no clear look: the classes of mIoU*.
STARRED = tuple(number for number in range(FREE) if OCC3D_CLASSES[number] not in ('others', 'other_flat'))
# Barrier to truck: the classes of foreground mIoU.
THINGS = tuple(range(OCC3D_CLASSES.index('barrier'), OCC3D_CLASSES.index('truck') + 1))


def _no_counts() -> np.ndarray:
    return np.zeros((COUNT, COUNT), np.int64)


@dataclass
class ConfusionMatrix:
    """How many voxels of each true class were predicted as which class.

    Matrices of parts of a data set, such as those of several ranks, are merged by ``+``.

    Attributes:
        counts: ``(18, 18)`` int64, a row per true class, a column per predicted one; 17 is free.
    """

    counts: np.ndarray = field(default_factory=_no_counts)

    def add(self, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Count the voxels of a frame.

        Args:
            prediction, truth: uint8 class numbers, of one shape.
            mask: bool of the same shape, the voxels that count; None: all.

        Raises:
            ValueError: shapes differ, or there is no such class.
        """
        shapes = [array.shape for array in (prediction, truth, mask) if array is not None]
        if len(set(shapes)) > 1:
            raise ValueError(f'prediction, truth and mask have different shapes: {shapes}')
        # Most voxels are free in both: these are looked at no further.
        occupied = (prediction != FREE) | (truth != FREE)
        if mask is not None:
            occupied &= mask
        places = places_of(occupied)
        prediction, truth = prediction.reshape(-1)[places], truth.reshape(-1)[places]
        if truth.size and max(prediction.max(), truth.max()) >= COUNT:
            raise ValueError(f'classes are 0 to {COUNT - 1}')
        # Number of the pair; uint8 would overflow.
        pairs = truth.astype(np.uint16) * np.uint16(COUNT) + prediction
        self.counts += np.bincount(pairs, minlength=COUNT**2).reshape(COUNT, COUNT)
        counted = occupied.size if mask is None else np.count_nonzero(mask)
        self.counts[FREE, FREE] += counted - len(places)

    def __add__(self, other: Self) -> Self:
        """Return the matrix of both parts of a data set."""
        return type(self)(self.counts + other.counts)

    def ious(self) -> np.ndarray:
        """Return the IoU ``(17,)`` of each class but free; NaN for what neither prediction nor truth has."""
        return class_ious(self.counts)[:FREE]

    def absent(self) -> list[str]:
        """Return the names of the classes that are neither in the prediction nor in the truth: no mean has them."""
        return [OCC3D_CLASSES[number] for number in np.flatnonzero(np.isnan(self.ious()))]

    def scores(self) -> dict[str, float]:
        """Return ``miou``, ``miou_star``, ``foreground_miou`` and ``iou``, 0 to 1; NaN of nothing.

        ``miou`` is over all 17 classes, ``miou_star`` over 15 of them (:data:`STARRED`), ``foreground_miou`` over
        barrier to truck (1 to 10): things, not surfaces and not "others", is our choice, as the name has no fixed
        meaning. ``iou`` compares occupied with free, whatever the class.
        """
        return {name: float(value) for name, value in voxel_scores(self.counts).items()}


def voxel_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return the :meth:`ConfusionMatrix.scores` ``(...)`` of matrices ``(..., 18, 18)``."""
    ious = class_ious(counts)[..., :FREE]
    occupied = counts[..., :FREE, :FREE].sum((-1, -2))
    return {
        'miou': means_of_known(ious),
        'miou_star': means_of_known(ious[..., STARRED]),
        'foreground_miou': means_of_known(ious[..., THINGS]),
        'iou': iou(occupied, counts[..., :FREE, :].sum((-1, -2)), counts[..., :FREE].sum((-1, -2))),
    }


def class_ious(counts: np.ndarray) -> np.ndarray:
    """Return the IoU ``(..., K)`` of each class from counts ``(..., K, K)``; NaN of what is neither true nor found."""
    return iou(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2))


def iou(both: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return intersection over union; NaN where the union is empty.

    Args:
        both: counts of what is in both sets.
        one, other: counts of each set.
    """
    union = np.asarray(one + other - both, np.float64)
    return np.divide(both, union, out=np.full(np.broadcast(both, union).shape, np.nan), where=union > 0)


def means_of_known(values: np.ndarray) -> np.ndarray:
    """Return the means ``(...)`` of those of ``(..., K)`` that are not NaN; NaN where none is."""
    known = ~np.isnan(values)
    counts = known.sum(-1)
    sums = np.where(known, values, 0).sum(-1)
    return np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def mean_of_known(values: Sequence[float] | np.ndarray) -> float:
    """Return the mean of the values ``(K,)`` that are not NaN; NaN if there is none."""
    return float(means_of_known(np.asarray(values)))
