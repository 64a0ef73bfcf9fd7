"""Measure guesses, predictions that need no model, with the metrics that measure the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.views import Views
from .baselines import Guess
from .depth import REFERENCES
from .metrics import DepthMetric, ImageMetric, SampleMetric
from .parts import whole
from .report import key, view_groups


class GuessScores:
    """Add guesses up.

    Args:
        build: makes the metrics, of images and of depth, for one baseline.
    """

    def __init__(self, build: Callable[[], Iterable[SampleMetric]]) -> None:
        self._build = build
        self._metrics: dict[str, list[SampleMetric]] = {}
        # Baselines whose images all equal the true ones: their PSNR has no end.
        self._equal: dict[str, bool] = {}

    def add(self, guess: Guess, inputs: Views, targets: Views, about: Mapping[str, Any]) -> None:
        """Measure a guess of one sample in those groups of views of which it predicts all.

        Args:
            guess: it.
            inputs, targets: all views of the sample.
            about: what the sample says of itself; with a protocol, also its groups.
        """
        if guess.name not in self._metrics:
            self._metrics[guess.name] = list(self._build())
        for metric in self._metrics[guess.name]:
            if isinstance(metric, ImageMetric) and guess.rgb is not None:
                sample = whole_groups(guess.positions, inputs, targets, about, 'colors')
                self._process(metric, sample, {'rgb': guess.rgb})
            if isinstance(metric, DepthMetric) and guess.depth is not None:
                views = targets if guess.reference is None else _only(targets, guess.reference)
                sample = whole_groups(guess.positions, inputs, views, about, 'depths')
                # The metric compares what is along the ray, unless it takes that for z.
                distance = guess.depth if metric.published_quirks else None
                if distance is None:
                    distance = distance_of(guess.depth, targets[list(guess.positions)].cameras)
                self._process(metric, sample, {'depth': distance})
        if guess.rgb is not None:
            equal = torch.equal(guess.rgb, targets.images[list(guess.positions)])
            self._equal[guess.name] = self._equal.get(guess.name, True) and equal

    @staticmethod
    def _process(metric: SampleMetric, sample: dict[str, Any] | None, predicted: dict[str, Tensor]) -> None:
        """Measure the predictions of the views of a sample that are left."""
        if sample is not None:
            left = {name: values[sample['kept']] for name, values in predicted.items()}
            metric.process(None, [{**sample, **left}])

    def figures(self) -> dict[str, float]:
        """Return the figures of all baselines, ``NAME/next/psnr``, merged over samples as those of the model."""
        found: dict[str, float] = {}
        for name, metrics in self._metrics.items():
            for metric in metrics:
                for figure, value in whole(metric.compute_metrics(metric.results) if metric.results else {}).items():
                    endless = figure.endswith(('psnr', 'psnr_recolored')) and self._equal.get(name, False)
                    found[key(name, metric.prefix or '', figure)] = math.inf if endless else value
        return found


def whole_groups(
    positions: Sequence[int], inputs: Views, targets: Views, about: Mapping[str, Any], kind: str
) -> dict[str, Any] | None:
    """Return the sample of those target views that make whole groups; None if there is no such group.

    Args:
        positions: of the views that something is known of.
        inputs, targets: all views of the sample.
        about: what the sample says of itself.
        kind: of its groups, if a protocol made them: ``colors`` or ``depths``.

    Returns:
        what a metric needs beside the prediction, and ``kept``, the places of these views in ``positions``.
    """
    if 'protocol' in about:
        groups = about['protocol'][kind]
    else:
        groups = {name: [group] for name, group in view_groups(inputs, targets).items()}
    place = {position: number for number, position in enumerate(positions)}
    whole = {name: units for name, units in groups.items() if {p for unit in units for p in unit} <= set(place)}
    chosen = sorted({position for units in whole.values() for unit in units for position in unit})
    if not chosen:
        return None
    number = {position: new for new, position in enumerate(chosen)}
    moved = {name: [[number[position] for position in unit] for unit in units] for name, units in whole.items()}
    return {
        **{'scene': about.get('scene'), 'token': about.get('token'), 'protocol': {kind: moved}},
        **{'input_views': inputs, 'target_views': targets[chosen], 'kept': [place[position] for position in chosen]},
    }


def _only(views: Views, reference: str) -> Views:
    """Return views of which one reference of depth is known."""
    others = {field: None for name, field in REFERENCES.items() if name != reference}
    return dataclasses.replace(views, **others)


def distance_of(depth: Tensor, cameras: Cameras) -> Tensor:
    """Convert z ``(V, h, w)`` to distance along the ray, float64.

    The product of two float32 is exact in float64, so that dividing by the lengths of float32 cameras gives z again.
    """
    return depth.double() * cameras.ray_lengths(*depth.shape[-2:]).double()
