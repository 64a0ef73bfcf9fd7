"""Evaluate a checkpoint, or what needs no model, on the test data of a config."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import METRICS
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from ..configuration.config import building
from ..configuration.layers import value_of
from ..evaluation.baselines import guess_sample, mean_images
from ..evaluation.depth_statistics import DepthHistograms
from ..evaluation.features import MeanFeature
from ..evaluation.guesses import GuessScores
from ..evaluation.metrics import GET_LPIPS, SampleMetric
from ..evaluation.parts import parts, whole
from ..evaluation.report import key
from ..geometry.views import Views
from ..semantics.text_encoders import TEXT_ENCODERS
from ..utils.errors import InputError, warn
from ..utils.files import is_file
from ..utils.precision import DEFAULT
from .builders import build_dataset, prepare, runner_with_weights
from .distributed import join, leave
from .machine import machine_failures
from .occupancy_baselines import occupancy_baselines
from .protocols import about_protocol, protocol_evaluations, protocol_evaluators, protocol_of
from .supply import possible_evaluations
from .warped_baseline import WarpedImages

# Names for ``tools/test.py --eval`` -> the metrics that they stand for.
EVALUATIONS = {
    'psnr': {'type': 'ImageMetric', 'reconstruction': True, 'novel_view': False},
    'novel_view': {'type': 'ImageMetric', 'reconstruction': False, 'novel_view': True},
    'depth': {'type': 'DepthMetric'},
    'feature': {'type': 'FeatureMetric'},
    'query': {'type': 'QueryMetric'},
    'occupancy': {'type': 'OccupancyMetric'},
}
# The end of the key of a figure that each of them gives; some begin with the evaluation's own name.
FIGURE = {
    **{'psnr': 'psnr', 'novel_view': '/psnr', 'depth': 'abs_rel'},
    **{'feature': '/psnr', 'query': '/miou', 'occupancy': '/iou'},
}
PREFIXED = ('feature', 'query', 'occupancy')
# What a network must render for a metric.
RENDERED = {'ImageMetric': 'colors', 'FeatureMetric': 'features', 'QueryMetric': 'features'}
# How ``tools/test.py --recolor`` fits colors (:mod:`..evaluation.recoloring`) -> settings of the metric of images.
RECOLORINGS = {'image': {'published_quirks': False}, 'published': {'published_quirks': True}}
# Where the weights of LPIPS are, unless the config's ImageMetric says it.
LPIPS_WEIGHTS = 'aux_models/lpips_vgg.pth'
# Why there can be none, and the hint.
NO_FIGURE = {'occupancy': 'none has labels; correct test_dataloader.dataset.gts'}
NO_PARTS = {
    'motion': 'the test data does not say what moves; that of MiniTown does with load_truth=True, converted again',
    'scene': 'samples do not say which scene they are of',
}
NOTHING_SEEN = 'nothing known lies in its views; look at the test data with tools/visualization.py'


@dataclass(frozen=True)
class Evaluation:
    """What a test found.

    Attributes:
        figures: means over all samples, or of what was counted in them.
        intervals: 95 % intervals of figures and parts, by the bootstrap over scenes; none of a single scene.
        samples: of each sample, in their order, its token, its scene and the figures that a sample has.
        parts: figures of parts, named as by :func:`..evaluation.parts.part_key`.
        protocol: of the test data, and how they deviate from it (:func:`.protocols.about_protocol`); None without one.
    """

    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    samples: list[dict[str, Any]]
    parts: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, Any] | None = None


def evaluate(
    config: Config,
    checkpoint: str | None,
    work_dir: Path,
    evaluations: Sequence[str] | None = None,
    launcher: str = 'none',
    precision: str = DEFAULT,
    by: Sequence[str] = (),
) -> Evaluation | None:
    """Return the metrics of a checkpoint on the test data.

    Several processes share the samples; the main one returns the metrics of all, the others ``None``.

    Args:
        config: as loaded.
        checkpoint: its file; ``None`` evaluates random weights.
        work_dir: where logs and panels go.
        evaluations: names in :data:`EVALUATIONS`; ``None`` for all that the test data has something for, and all other
            metrics of the config's ``test_evaluator``. Its settings of a metric are used in either case.
        launcher: what started this process (:data:`.distributed.LAUNCHERS`).
        precision: of the network (:mod:`..utils.precision`).
        by: kinds of parts (:data:`..evaluation.parts.KINDS`) that get figures, too.

    Raises:
        InputError: wrong input anywhere on the way, an evaluation was asked for and has no data, or one has data but
            no valid sample.
    """
    config = prepare(config, work_dir)
    if launcher != 'none':
        join(config, launcher)
    protocol = protocol_of(config)
    names = protocol_evaluations(protocol, _names(config, evaluations), evaluations is not None, config)
    evaluators = _with_lpips(_evaluators(config, names, evaluations is None))
    config.test_evaluator = protocol_evaluators(protocol, evaluators)
    runner = runner_with_weights(config, checkpoint, precision)
    with building(config):
        loop = runner.test_loop
    encoder = value_of(config, 'model.text_encoder')
    coded = encoder is None or (isinstance(encoder, str) and encoder in TEXT_ENCODERS)
    possible = possible_evaluations(names, loop.dataloader.dataset, explicit=evaluations is not None, coded=coded)
    metrics = loop.evaluator.metrics
    chosen = [metric for name, metric in zip(names, metrics, strict=False) if name in possible]
    loop.evaluator.metrics = [*chosen, *metrics[len(names) :]]
    ours = [metric for metric in loop.evaluator.metrics if isinstance(metric, SampleMetric)]
    split(ours, by)
    with machine_failures(config, 'test_dataloader'):
        figures = {key: float(value) for key, value in runner.test().items()}
    if empty := [name for name in possible if not any(_is_of(name, key) for key in figures)]:
        raise InputError(
            f'{config.filename}: --eval {empty[0]} {"is asked for, but" if evaluations else "has data, but"} no test '
            f'sample gives a figure: {NO_FIGURE.get(empty[0], NOTHING_SEEN)}'
        )
    main = is_main_process()
    leave()
    if not main:
        return None
    for kind in by:
        if not parts(figures, kind):
            warn(f'{config.filename}: --by {kind} gives no figure: {NO_PARTS.get(kind, NOTHING_SEEN)}')
    intervals = {name: bounds for metric in ours for name, bounds in metric.intervals().items()}
    about = about_protocol(protocol, loop.dataloader.dataset)
    return Evaluation(whole(figures), intervals, _samples_of(ours), parts(figures), about)


def split(metrics: Sequence[SampleMetric], by: Sequence[str]) -> None:
    """Let metrics measure parts, too.

    Raises:
        InputError: none of them knows one of these kinds.
    """
    for metric in metrics if by else ():
        metric.split_by(by)
    if unknown := [kind for kind in by if not any(kind in metric.by for metric in metrics)]:
        raise InputError(f'--by {unknown[0]}: none of the evaluations has figures of that; leave it away')


def _is_of(evaluation: str, figure: str) -> bool:
    """Tell whether a figure is one that an evaluation gives."""
    begins = evaluation not in PREFIXED or figure.startswith(f'{evaluation}/')
    return begins and figure.endswith(FIGURE[evaluation])


def _samples_of(metrics: Sequence[SampleMetric]) -> list[dict[str, Any]]:
    """Return the figures of each sample, from all metrics that have some of single samples."""
    rows: dict[str | None, dict[str, Any]] = {}
    for metric in metrics:
        for one in metric.samples:
            row = rows.setdefault(one.token, {'token': one.token, 'scene': one.scene})
            if isinstance(one.result, Mapping):
                row |= {key(metric.prefix or '', name): value for name, value in one.result.items()}
    return list(rows.values())


def _names(config: Config, evaluations: Sequence[str] | None) -> list[str]:
    """Return the evaluations that the config's network allows."""
    names = list(EVALUATIONS if evaluations is None else evaluations)
    rendered = 'features' if value_of(config, 'model.network.head.type') == 'feature' else 'colors'
    fitting = [name for name in names if RENDERED.get(EVALUATIONS[name]['type'], rendered) == rendered]
    if refused := [name for name in evaluations or () if name not in fitting]:
        choices = [name for name in EVALUATIONS if RENDERED.get(EVALUATIONS[name]['type'], rendered) == rendered]
        raise InputError(
            f'{config.filename}: its network renders no {RENDERED[EVALUATIONS[refused[0]]["type"]]} for --eval '
            f'{refused[0]}; choose {", ".join(choices)}'
        )
    if evaluations is None and value_of(config, 'model.text_encoder') is None:
        fitting = [name for name in fitting if name != 'query']
    return fitting


def _evaluators(config: Config, names: Sequence[str], with_own: bool) -> list[dict]:
    """Return one metric per name, with the config's settings of it.

    Args:
        config: the whole config.
        names: of evaluations.
        with_own: the config's metrics of other types follow.
    """
    given = config.get('test_evaluator') or []
    given = [given] if isinstance(given, Mapping) else list(given)
    asked = [EVALUATIONS[name] for name in names]
    settings = {metric.get('type'): metric for metric in given}
    usual = {metric['type'] for metric in EVALUATIONS.values()}
    own = [metric for metric in given if metric.get('type') not in usual] if with_own else []
    usual_settings = {'QueryMetric': {'text_encoder': value_of(config, 'model.text_encoder')}}
    return [
        {**usual_settings.get(kind := metric['type'], {}), **settings.get(kind, {}), **metric} for metric in asked
    ] + own


def with_recoloring(config: Config, evaluations: Sequence[str] | None, way: str) -> Config:
    """Return a copy of a config whose images are measured after a change of their colors, too.

    Args:
        config: as loaded.
        evaluations: names in :data:`EVALUATIONS`; ``None`` for all that the network allows.
        way: one of :data:`RECOLORINGS`.

    Raises:
        InputError: no images are measured.
    """
    if not any(EVALUATIONS[name]['type'] == 'ImageMetric' for name in _names(config, evaluations)):
        raise InputError(
            f'{config.filename}: --recolor is of --eval psnr and novel_view; ask for one, or leave it away'
        )
    config = copy.deepcopy(config)
    given = config.get('test_evaluator') or []
    given = [given] if isinstance(given, Mapping) else list(given)
    ours = [metric for metric in given if metric.get('type') == 'ImageMetric'] or [{'type': 'ImageMetric'}]
    others = [metric for metric in given if metric.get('type') != 'ImageMetric']
    config.test_evaluator = [*({**metric, 'recolor': True, **RECOLORINGS[way]} for metric in ours), *others]
    return config


def _with_lpips(evaluators: list[dict]) -> list[dict]:
    """Return metrics of which those of images measure LPIPS, too, where there are weights and no setting says else."""
    if all('lpips_weights' in metric for metric in evaluators if metric['type'] == 'ImageMetric'):
        return evaluators
    weights = {'lpips_weights': _weights_of_lpips()}
    return [{**weights, **metric} if metric['type'] == 'ImageMetric' else metric for metric in evaluators]


def _weights_of_lpips() -> str | None:
    """Return the file of the weights of LPIPS; without one say so, and return None."""
    if is_file(LPIPS_WEIGHTS):
        return LPIPS_WEIGHTS
    if is_main_process():
        warn(f'{LPIPS_WEIGHTS}: no such file, so there is no LPIPS; {GET_LPIPS}')
    return None


def baselines(config: Config, evaluated: Collection[str] = ()) -> dict[str, float]:
    """Return the metrics of guesses without a model on the same test data.

    Args:
        config: as loaded.
        evaluated: keys of figures of the model. Where they are of occupancy, so are guesses
            (:mod:`.occupancy_baselines`), where they are of depth, the median and the truth; those of colors
            (:mod:`..evaluation.baselines`, :mod:`.warped_baseline`) are always there.
    """
    training = build_dataset(config, 'train')
    test = build_dataset(config, 'test')
    workers = config.train_dataloader.get('num_workers', 0), config.test_dataloader.get('num_workers', 0)
    depths, features = DepthHistograms(), MeanFeature()
    watched = features.watch(depths.watch(sample['inputs']['input_views'] for sample in _samples(training, workers[0])))
    means = mean_images(watched)
    scores = GuessScores(lambda: _guess_metrics(config, any(name.endswith(FIGURE['depth']) for name in evaluated)))
    warped, medians = WarpedImages(), depths.medians()
    for sample in _samples(test, workers[1]):
        inputs, targets = (sample['inputs'][name] for name in ('input_views', 'target_views'))
        about = sample['data_samples'].metainfo if 'data_samples' in sample else {}
        guesses = [*guess_sample(means, inputs, targets, about, medians), warped.guess(inputs, targets, about)]
        for guess in filter(None, guesses):
            scores.add(guess, inputs, targets, about)
    figures = scores.figures() | warped.figures(config.filename)
    if any(_is_of('feature', key) for key in evaluated):
        figures |= _feature_baselines(config, features, test)
    if any(key.endswith(FIGURE['occupancy']) for key in evaluated):
        figures |= occupancy_baselines(config, _evaluators(config, ['occupancy'], False)[0])
    return figures


def _feature_baselines(config: Config, features: MeanFeature, test: torch.utils.data.Dataset) -> dict[str, float]:
    """Return the PSNR of the mean feature of the training data on the test data; empty if there is none."""
    if features.value is None:
        warn(f'{config.filename}: the training data has no features: no baseline mean_feature')
        return {}
    inputs = (sample['inputs'] for sample in _samples(test, config.test_dataloader.get('num_workers', 0)))
    pairs = ((views['input_views'], views['target_views']) for views in inputs)
    return features.figures(pairs, config.test_dataloader.dataset.render_size)


def _guess_metrics(config: Config, with_depth: bool) -> list[SampleMetric]:
    """Build the metrics of guesses: those of the model, but for LPIPS, which would take longer than all others."""
    names = ['psnr', 'novel_view', *(['depth'] if with_depth else [])]
    settings = protocol_evaluators(protocol_of(config), _evaluators(config, names, False))
    with building(config):
        return [METRICS.build({k: v for k, v in one.items() if k != 'lpips_weights'}) for one in settings]


def _samples(dataset: torch.utils.data.Dataset, workers: int) -> Iterator[dict[str, dict[str, Views]]]:
    """Yield every sample once."""
    return iter(DataLoader(dataset, batch_size=None, num_workers=workers))


@torch.no_grad()
def predictions(
    config: Config, checkpoint: str | None, work_dir: Path, precision: str = DEFAULT
) -> Iterator[BaseDataElement]:
    """Yield what a model predicts for the test data, sample by sample; the caller's gradients stay as they are.

    Args:
        config: as loaded.
        checkpoint: its file; ``None`` for random weights.
        work_dir: where logs go.
        precision: of the network (:mod:`..utils.precision`).
    """
    config = prepare(config, work_dir)
    runner = runner_with_weights(config, checkpoint, precision)
    with building(config):
        loader = runner.build_dataloader(config.test_dataloader)
    runner.model.eval()
    with machine_failures(config, 'test_dataloader'):
        for batch in loader:
            yield from runner.model.test_step(batch)
