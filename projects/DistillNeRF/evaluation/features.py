"""Compare rendered features with teacher features: PSNR, and which class each pixel is nearest to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.views import Views
from ..models.objective import feature_target
from ..semantics.classes import CLASSES
from ..semantics.text_encoders import Queries, similarities
from .depth import average
from .image import psnr
from .occupancy.confusion import class_ious, mean_of_known
from .report import key, view_groups

# A teacher feature with this cosine to the vector of a word is that vector: its pixel shows that class.
SAME_VECTOR = 0.999


def known_features(views: Views, rendered: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the teacher features ``(V, C, h, w)`` at the size of rendered ones, and where they are known.

    Args:
        views: the target views.
        rendered: ``(V, C, h, w)`` of these views.

    Returns:
        features and ``(V, h, w)`` bool; None if no pixel is known.

    Raises:
        InputError: the channels are not as many as the rendered ones.
    """
    if views.features is None:
        return None
    target = feature_target(views, rendered)
    known = target.isfinite().all(1)
    return (target, known) if known.any() else None


def feature_psnr(rendered: Tensor, target: Tensor, mask: Tensor) -> float:
    """Return ``-10 log10`` of the mean squared error of features ``(V, C, h, w)``, in dB.

    As published: over all channels and pixels together, as if the features were in [0, 1].

    Args:
        rendered, target: features.
        mask: ``(V, h, w)`` bool, the pixels that count; one at least.
    """
    return psnr(rendered.movedim(1, -1)[mask], target.movedim(1, -1)[mask])


class MeanFeature:
    """What needs no model: the mean teacher feature of a training set at every pixel."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def watch(self, training: Iterable[Views]) -> Iterator[Views]:
        """Yield the views of a training set as they are, and add up their known features."""
        for views in training:
            if views.features is not None:
                rows = views.features.movedim(1, -1)
                rows = rows[rows.isfinite().all(-1)].double().cpu()
                if len(rows):
                    self._sum = rows.sum(0) + (0 if self._sum is None else self._sum)
                    self._count += len(rows)
            yield views

    @property
    def value(self) -> Tensor | None:
        """Return the mean ``(C,)``; None if no training view had features."""
        return None if self._sum is None else (self._sum / self._count).float()

    def figures(self, samples: Iterable[tuple[Views, Views]], size: Sequence[int]) -> dict[str, float]:
        """Measure the PSNR of the mean feature on test samples, as ``FeatureMetric`` measures the model.

        Args:
            samples: (input views, target views) of each.
            size: (rows, columns) at which the network renders.

        Returns:
            ``mean_feature/feature/psnr``, ``mean_feature/feature/next/psnr``, ...; empty without a mean.
        """
        return average([self._of_sample(*views, size) for views in samples])

    def _of_sample(self, inputs: Views, targets: Views, size: Sequence[int]) -> dict[str, float]:
        found: dict[str, float] = {}
        if (mean := self.value) is None:
            return found
        for group, positions in view_groups(inputs, targets).items():
            guess = mean[:, None, None].expand(len(positions), len(mean), *size).to(targets.images.device)
            if (target := known_features(targets[positions], guess)) is not None:
                found[key('mean_feature', 'feature', group, 'psnr')] = feature_psnr(guess, *target)
        return found


@dataclass(frozen=True)
class ClassCounts:
    """Pixels of some samples by true class and by the class that a query finds; merged by ``+``.

    Attributes:
        groups: group of views (:func:`.report.view_groups`) -> ``(K, K)`` int64, a row per true class, a column per
            found one.
    """

    groups: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __add__(self, other: ClassCounts) -> ClassCounts:
        """Return the counts of both parts of a data set."""
        names = dict.fromkeys([*self.groups, *other.groups])
        return ClassCounts({name: self.groups.get(name, 0) + other.groups.get(name, 0) for name in names})

    def figures(self, words: Sequence[str]) -> dict[str, float]:
        """Return ``miou`` and ``iou/WORD`` of each group; none of a class that is neither true nor found anywhere."""
        found = {}
        for group, counts in self.groups.items():
            ious = class_ious(counts)
            found[key(group, 'miou')] = mean_of_known(ious)
            found |= {key(group, 'iou', word): float(value) for word, value in zip(words, ious, strict=True)}
        return {name: value for name, value in found.items() if not np.isnan(value)}


def true_classes(target: Tensor, vectors: Tensor) -> Tensor:
    """Return the classes ``(V, h, w)`` int64 of teacher features that are the vectors of words; -1 of any others.

    Args:
        target: ``(V, C, h, w)``, NaN where unknown.
        vectors: ``(K, C)`` of the words.
    """
    cosine, nearest = similarities(target.nan_to_num(0), vectors).max(0)
    return torch.where(cosine > SAME_VECTOR, nearest, -1)


def classes_by_name(views: Views, names: Sequence[str], size: Sequence[int]) -> Tensor | None:
    """Return the true classes ``(V, rows, columns)`` int64 of views as places in ``names``; -1 of others and unknown.

    None if no true class is known of any pixel. Maps of another size than ``size`` (rows, columns) show what is at the
    middle of each pixel.
    """
    if views.true_classes is None or not (known := views.true_classes.isfinite()).any():
        return None
    places = {name: place for place, name in enumerate(names)}
    table = torch.tensor([places.get(name, -1) for name in CLASSES], device=known.device)
    truth = torch.where(known, table[views.true_classes.nan_to_num(0).long()], -1)
    if tuple(truth.shape[-2:]) != tuple(size):
        truth = F.interpolate(truth[:, None].double(), size=tuple(size), mode='nearest-exact')[:, 0].long()
    return truth


def count_classes(rendered: Tensor, truth: Tensor, queries: Queries) -> np.ndarray:
    """Count pixels by true class and by the class whose words are nearest to the rendered feature.

    Args:
        rendered: ``(V, C, h, w)``.
        truth: ``(V, h, w)`` classes, -1 where unknown.
        queries: one per class.

    Returns:
        ``(K, K)`` int64, true classes in rows.
    """
    found = queries.nearest(rendered)
    known, count = truth >= 0, len(queries)
    pairs = truth[known] * count + found[known]
    return torch.bincount(pairs, minlength=count**2).reshape(count, count).cpu().numpy()
