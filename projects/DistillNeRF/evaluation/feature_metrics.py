"""Register the metrics of rendered features: PSNR against teacher features, and IoU of text queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS
from torch import Tensor

from ..geometry.views import Views
from ..semantics.classes import CLASSES
from ..semantics.text_encoders import encode_words
from ..utils.errors import InputError
from .features import ClassCounts, class_ious, count_classes, feature_psnr, known_features, true_classes
from .metrics import SampleMetric
from .parts import CAMERA, MOTION, part_key, pixel_masks
from .report import key, places, view_groups


class _OfFeatures(SampleMetric):
    """A metric of rendered features, group of views by group."""

    def _groups(self, sample: dict) -> list[tuple[str, Tensor, Views, Tensor, Tensor]]:
        """Return name, rendered features, views, teacher features and known pixels of each group that has some."""
        rendered, targets = sample.get('features'), sample['target_views']
        if rendered is None:
            raise InputError(f'{type(self).__name__}: the network renders no features; leave it out of the evaluators')
        found = []
        for group, positions in view_groups(sample['input_views'], targets).items():
            chosen = places(positions)
            estimate, views = rendered[chosen], targets[chosen]
            if not estimate.isfinite().all():
                self._skip('NaN in the rendered features')
            elif (target := known_features(views, estimate)) is None:
                self._skip('no teacher features in the views of a frame')
            else:
                found.append((group, estimate, views, *target))
        return found


@METRICS.register_module()
class FeatureMetric(_OfFeatures):
    """PSNR of rendered features per sample and group of views, averaged over the samples.

    A data sample must hold ``features`` ``(T, C, h, w)``, ``input_views`` and ``target_views`` (T views) whose
    ``features`` are resized bilinearly to h x w; pixels where they are unknown do not count.
    Results: ``feature/psnr``, ``feature/next/psnr``, ..., of parts as ``feature/psnr@camera=CAM_FRONT``.

    Args:
        by: parts, see :class:`.metrics.SampleMetric`: ``camera``, ``motion``, ``scene``.
        collect_device, prefix, collect_dir: see :class:`.metrics.SampleMetric`.
    """

    default_prefix = 'feature'
    PARTS = (CAMERA, MOTION)

    def __init__(
        self,
        by: Sequence[str] = (),
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.split_by(by)

    def _evaluate(self, sample: dict) -> dict[str, float]:
        """Return the figures of one sample."""
        figures = {}
        for group, rendered, views, target, known in self._groups(sample):
            name = key(group, 'psnr')
            figures[name] = feature_psnr(rendered, target, known)
            for kind, part, mask in pixel_masks(self.by, views, *known.shape[-2:]):
                if (mask & known).any():
                    figures[part_key(name, kind, part)] = feature_psnr(rendered, target, mask & known)
        return figures


@METRICS.register_module()
class QueryMetric(_OfFeatures):
    """IoU of what text queries find, from the pixels of all samples.

    Every pixel is of the class whose word is nearest to its rendered feature (cosine). The truth is what the teacher
    features show: a pixel counts if they are the vector of a word, as those of MiniTown's class codes are.

    A data sample must hold what :class:`FeatureMetric` needs. Results: ``query/miou``, ``query/iou/car``, ... and the
    same of other groups of views, ``query/next/miou``. A class that is neither true nor found has no row.

    Args:
        text_encoder: of :data:`..semantics.text_encoders.TEXT_ENCODERS`, the one that belongs to the features.
        words: the classes; None for those of MiniTown.
        by: parts, see :class:`.metrics.SampleMetric`: ``scene``.
        collect_device, prefix, collect_dir: see :class:`.metrics.SampleMetric`.
    """

    default_prefix = 'query'

    def __init__(
        self,
        text_encoder: str | None = None,
        words: Sequence[str] | None = None,
        by: Sequence[str] = (),
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.text_encoder = text_encoder
        self.words = tuple(CLASSES if words is None else words)
        self._vectors: Tensor | None = None
        self.split_by(by)

    def _evaluate(self, sample: dict) -> ClassCounts:
        """Return what is counted in one sample."""
        counts = {}
        for group, rendered, _, target, _ in self._groups(sample):
            if self._vectors is None:
                self._vectors = encode_words(self.text_encoder, self.words, rendered.shape[1])
            truth = true_classes(target, self._vectors)
            if (truth < 0).all():
                self._skip('teacher features that are those of no word')
                continue
            counts[group] = count_classes(rendered, truth, self._vectors)
        return ClassCounts(counts)

    def merge(self, results: list[ClassCounts]) -> dict[str, float]:
        """Add up what was counted in all samples."""
        return sum(results, ClassCounts()).figures(self.words)

    def resampled(self, scenes: Sequence[Sequence[Any]], weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the figures ``(R,)`` of the counts of scenes that are drawn several times; NaN where there is none."""
        totals = [sum(scene, ClassCounts()) for scene in scenes]
        shape = len(self.words), len(self.words)
        found = {}
        for group in dict.fromkeys(group for total in totals for group in total.groups):
            each = np.stack([total.groups.get(group, np.zeros(shape, np.int64)) for total in totals])
            ious = class_ious(np.tensordot(weights, each, 1))
            found[key(group, 'miou')] = _mean_of_known(ious)
            found |= {key(group, 'iou', word): values for word, values in zip(self.words, ious.T, strict=True)}
        return found


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the means ``(R,)`` over the columns of ``(R, K)`` that are not NaN; NaN where none is."""
    known = ~np.isnan(values)
    counts = known.sum(1)
    sums = np.where(known, values, 0).sum(1)
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
