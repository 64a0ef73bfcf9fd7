"""Register the metrics of rendered features: PSNR against teacher features, and IoU of text queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import METRICS
from torch import Tensor

from ..geometry.views import Views
from ..semantics.phrases import minitown_phrases
from ..semantics.text_encoders import COMBINATIONS, Encoder, Queries, make_queries
from ..utils.errors import InputError
from .features import (
    ClassCounts,
    classes_by_name,
    count_classes,
    feature_psnr,
    known_features,
    true_classes,
)
from .metrics import SampleMetric
from .occupancy.confusion import class_ious, means_of_known
from .parts import CAMERA, MOTION, part_key, pixel_masks
from .report import key, places, view_groups


class _OfFeatures(SampleMetric):
    """A metric of rendered features, group of views by group."""

    def _require_features(self, rendered: Tensor | None) -> None:
        if rendered is None:
            raise InputError(f'{type(self).__name__}: the network renders no features; leave it out of the evaluators')

    def _groups(self, sample: dict) -> list[tuple[str, Tensor, Views, Tensor, Tensor]]:
        """Return name, rendered features, views, teacher features and known pixels of each group that has some."""
        rendered, targets = sample.get('features'), sample['target_views']
        self._require_features(rendered)
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

    Every pixel is of the class whose words are nearest to its rendered feature (cosine). The truth is ``true_classes``
    of the target views where they have some (MiniTown). Else it is what the teacher features show: a pixel counts if
    they are the vector of a word, as those of class codes are.

    A data sample must hold what :class:`FeatureMetric` needs. Results: ``query/miou``, ``query/iou/car``, ... and the
    same of other groups of views, ``query/next/miou``. A class that is neither true nor found has no row.

    Args:
        text_encoder: ``model.text_encoder``, the one that belongs to the features.
        words: the classes, or a dict of the phrases of each; None for those of MiniTown, in words of the encoder.
        combine: a class is as like as the ``best`` of its phrases, or as they are in the ``mean``.
        by: parts, see :class:`.metrics.SampleMetric`: ``scene``.
        collect_device, prefix, collect_dir: see :class:`.metrics.SampleMetric`.

    Raises:
        InputError: phrases that are no words, or no such ``combine``.
    """

    default_prefix = 'query'

    def __init__(
        self,
        text_encoder: Encoder = None,
        words: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        combine: str = COMBINATIONS[0],
        by: Sequence[str] = (),
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.text_encoder = text_encoder
        if words is None:
            words = minitown_phrases(text_encoder)
        listed = {} if isinstance(words, str | Mapping) else {word: (word,) for word in words}
        phrases = words if isinstance(words, Mapping) else listed
        self.words, self._phrases = tuple(phrases), tuple(phrases.values())
        if not phrases or not all(map(_are_phrases, self._phrases)):
            raise InputError('QueryMetric: words is no list of words, and no dict of lists of phrases; correct it')
        if combine not in COMBINATIONS:
            raise InputError(f'QueryMetric: combine is {combine!r}; choose {" or ".join(COMBINATIONS)}')
        self._combine = combine
        self._queries: Queries | None = None
        self.split_by(by)

    def _evaluate(self, sample: dict) -> ClassCounts:
        """Return what is counted in one sample."""
        rendered, targets = sample.get('features'), sample['target_views']
        self._require_features(rendered)
        if self._queries is None:
            self._queries = make_queries(self.text_encoder, self._phrases, rendered.shape[1], self._combine)
        counts = {}
        for group, positions in view_groups(sample['input_views'], targets).items():
            estimate = rendered[positions]
            if not estimate.isfinite().all():
                self._skip('NaN in the rendered features')
            elif (truth := self._truth(targets[positions], estimate)) is not None:
                counts[group] = count_classes(estimate, truth, self._queries)
        return ClassCounts(counts)

    def _truth(self, views: Views, rendered: Tensor) -> Tensor | None:
        """Return the true classes ``(V, h, w)`` of views, -1 where unknown; None, and say why, if none is known."""
        if (truth := classes_by_name(views, self.words, rendered.shape[-2:])) is not None:
            why = 'true classes that have no words'
        elif (target := known_features(views, rendered)) is None:
            why = 'no true classes and no teacher features in the views of a frame'
        elif self._queries.span is not None:
            why = 'no true classes (LoadTruth(with_classes=True) reads those of MiniTown)'
        else:
            truth = self._class_of_phrase(true_classes(target[0], self._queries.vectors))
            why = 'teacher features that are those of no word'
        if truth is None or (truth < 0).all():
            self._skip(why)
            return None
        return truth

    def _class_of_phrase(self, numbers: Tensor) -> Tensor:
        """Return the class of each phrase by its number, -1 of -1."""
        counts = torch.tensor([len(one) for one in self._phrases], device=numbers.device)
        classes = torch.arange(len(counts), device=numbers.device).repeat_interleave(counts)
        return torch.where(numbers < 0, -1, classes[numbers.clamp_min(0)])

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
            found[key(group, 'miou')] = means_of_known(ious)
            found |= {key(group, 'iou', word): values for word, values in zip(self.words, ious.T, strict=True)}
        return found


def _are_phrases(value: Any) -> bool:
    """Return whether a value is a list of words."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(w, str) and w.strip() for w in value)
