"""Train and evaluate with mmengine's Runner."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from ..configuration.config import building
from ..configuration.contradictions import check_custom_keys, check_together, check_validation
from ..configuration.layers import value_of
from ..configuration.options import apply_switches, keep_unused_parameters, resume_of, seed_of, use_mixed_precision
from ..configuration.schedule import check_schedule, warn_of_late_losses
from ..evaluation.baselines import evaluate_baselines, mean_images
from ..geometry.views import Views
from ..models.checkpoint import load_weights, read_checkpoint
from ..models.network import DistillNeRF
from ..models.wrapper import DistillNeRFModel, NonFiniteLoss
from ..utils.errors import InputError
from ..utils.files import require_writable
from .distributed import join
from .environment import prepare_processor
from .failures import machine_failures
from .resuming import checkpoint_to_resume, is_finished, remember_data, require_resumable, warn_of_earlier_run
from .run_lock import training_in
from .runner import WholeCheckpointRunner
from .supply import check_depth_metric, check_losses, possible_evaluations, warn_of_shared_samples

# What ``tools/test.py --eval`` offers, and the metrics behind it.
EVALUATIONS = {
    'psnr': {'type': 'ImageMetric', 'reconstruction': True, 'novel_view': False},
    'novel_view': {'type': 'ImageMetric', 'reconstruction': False, 'novel_view': True},
    'depth': {'type': 'DepthMetric'},
}
# A figure that each of them gives, at the end of its key.
FIGURE = {'psnr': 'psnr', 'novel_view': '/psnr', 'depth': 'abs_rel'}


def prepare(config: Config, work_dir: Path, seed: int | None = None) -> Config:
    """A copy of the config for one run in ``work_dir``; a ``seed`` takes the place of that of ``randomness``.

    Raises:
        InputError: nothing can be written there, or settings that belong together are not all there.
    """
    check_together(config)
    config = copy.deepcopy(config)
    config.work_dir = str(require_writable(work_dir))
    if seed is not None:
        config.randomness = {**config.get('randomness', {}), 'seed': seed}
    return config


def train(
    config: Config,
    work_dir: Path,
    seed: int | None = None,
    amp: bool = False,
    resume: str | None = None,
    launcher: str = 'none',
) -> None:
    """Train as the config says.

    Args:
        seed: of all random numbers; ``None`` takes that of the config's ``randomness``, or 0.
        resume: checkpoint to go on from, or the folder of one; ``auto`` takes that of ``work_dir``, and starts if there
            is none. Nothing is done if the run is finished.

    Raises:
        InputError: wrong input anywhere on the way.
    """
    config = prepare(config, work_dir, seed_of(config) if seed is None else seed)
    check_schedule(config)
    check_validation(config)
    resume = resume_of(config) if resume is None else resume
    join(config, launcher)
    with training_in(work_dir) if is_main_process() else contextlib.nullcontext():
        keep_unused_parameters(config)
        apply_switches(config)
        if amp:
            use_mixed_precision(config)
        if resume is not None:
            resume = checkpoint_to_resume(resume, work_dir)
        elif is_main_process():
            warn_of_earlier_run(work_dir)
        config.resume = False
        if resume is not None:
            config.resume, config.load_from = True, resume
            state = read_checkpoint(resume)
            require_resumable(config, state, resume)
            if is_finished(config, state, resume):
                return
        elif config.get('load_from'):
            # Fine-tuning may take over a part of the weights: the runner says which.
            read_checkpoint(config.load_from)
        _run(config, resume)


def _run(config: Config, resume: str | None) -> None:
    """Build everything and train."""
    runner = build_runner(config)
    if resume is not None:
        load_weights(network_of(runner), resume)
    with building(config):
        # mmengine would build the datasets later, where a wrong option could not be told from a bug.
        _ = runner.train_loop, runner.val_loop
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
        runner.auto_scale_lr = None
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    check_custom_keys(config, runner.model)
    warn_of_late_losses(config, model_of(runner).objective.losses, runner.max_iters)
    check_supply(runner)
    remember_data(runner.train_loop.dataloader.dataset, Path(runner.work_dir), resume is not None)
    try:
        with machine_failures(config, 'train_dataloader'):
            runner.train()
    except NonFiniteLoss as error:
        raise _diverged(runner, error) from error


def check_supply(runner: Runner) -> None:
    """Losses and metrics of a training must have data (:mod:`.supply`).

    Raises:
        InputError: one has none.
    """
    training = runner.train_loop.dataloader.dataset
    check_losses(model_of(runner).objective.losses, training)
    if runner.val_loop is not None:
        validation = runner.val_loop.dataloader.dataset
        check_depth_metric(runner.val_loop.evaluator.metrics, validation, 'val_evaluator')
        warn_of_shared_samples(training, validation)


def _diverged(runner: Runner, loss: NonFiniteLoss) -> InputError:
    """Save the state before a loss that is NaN or infinite, and say what happened."""
    name = f'before_nan_iter_{runner.iter}.pth'
    runner.save_checkpoint(runner.work_dir, name, meta={'iter': runner.iter, 'epoch': runner.epoch})
    return InputError(
        f'{runner.work_dir}: iteration {runner.iter + 1} has a loss that is NaN or infinite: {loss.losses}, on the '
        f'samples {loss.samples}; the state before it is in {name}; lower optim_wrapper.optimizer.lr or look for wrong '
        'values in the data, and go on from an earlier checkpoint with --resume'
    )


def evaluate(
    config: Config, checkpoint: str | None, work_dir: Path, evaluations: Sequence[str] | None = None
) -> dict[str, float]:
    """Metrics of a checkpoint on the test data.

    Args:
        checkpoint: ``None`` evaluates random weights.
        evaluations: some of :data:`EVALUATIONS`; ``None`` for all that the test data has something for, and what else
            the config's ``test_evaluator`` has. Its settings of a metric are used in either case.

    Raises:
        InputError: wrong input anywhere on the way, or an evaluation was asked for and has no data.
    """
    config = prepare(config, work_dir)
    names = _names(config, evaluations)
    config.test_evaluator = _evaluators(config, names, evaluations is None)
    runner = runner_with_weights(config, checkpoint)
    with building(config):
        loop = runner.test_loop
    possible = possible_evaluations(names, loop.dataloader.dataset, explicit=evaluations is not None)
    metrics = loop.evaluator.metrics
    chosen = [metric for name, metric in zip(names, metrics, strict=False) if name in possible]
    loop.evaluator.metrics = [*chosen, *metrics[len(names) :]]
    with machine_failures(config, 'test_dataloader'):
        figures = {key: float(value) for key, value in runner.test().items()}
    if empty := [name for name in evaluations or () if not any(key.endswith(FIGURE[name]) for key in figures)]:
        raise InputError(
            f'{config.filename}: --eval {empty[0]} is asked for, but no test sample gives a figure: nothing known lies '
            'in its views; look at the test data with tools/visualization.py'
        )
    return figures


def _names(config: Config, evaluations: Sequence[str] | None) -> list[str]:
    """The evaluations that the config's network allows."""
    names = list(EVALUATIONS if evaluations is None else evaluations)
    if value_of(config, 'model.network.head.type') != 'feature':
        return names
    if colors := [name for name in evaluations or () if EVALUATIONS[name]['type'] == 'ImageMetric']:
        raise InputError(f'{config.filename}: its network renders no colors for --eval {colors[0]}; choose depth')
    return [name for name in names if EVALUATIONS[name]['type'] != 'ImageMetric']


def _evaluators(config: Config, names: Sequence[str], with_own: bool) -> list[dict]:
    """One metric per name, with the config's settings of it; ``with_own``: then the config's metrics of other types."""
    given = config.get('test_evaluator') or []
    given = [given] if isinstance(given, Mapping) else list(given)
    wanted = [EVALUATIONS[name] for name in names]
    settings = {metric.get('type'): metric for metric in given}
    usual = {metric['type'] for metric in EVALUATIONS.values()}
    own = [metric for metric in given if metric.get('type') not in usual] if with_own else []
    return [{**settings.get(metric['type'], {}), **metric} for metric in wanted] + own


def baselines(config: Config) -> dict[str, float]:
    """What needs no model, on the same test views (:mod:`..evaluation.baselines`)."""
    training = build_dataset(config, 'train')
    test = build_dataset(config, 'test')
    workers = config.train_dataloader.get('num_workers', 0), config.test_dataloader.get('num_workers', 0)
    means = mean_images(sample['inputs']['input_views'] for sample in _samples(training, workers[0]))
    inputs = (sample['inputs'] for sample in _samples(test, workers[1]))
    return evaluate_baselines(means, ((views['input_views'], views['target_views']) for views in inputs))


def build_dataset(config: Config, split: str) -> torch.utils.data.Dataset:
    """The dataset of a config's ``train``, ``val`` or ``test`` dataloader.

    Raises:
        InputError: unknown options, or what the dataset finds wrong with its files.
    """
    # What a runner would do first.
    init_default_scope('mmdet3d')
    with building(config):
        return DATASETS.build(config[f'{split}_dataloader'].dataset)


def predictions(config: Config, checkpoint: str | None, work_dir: Path) -> Iterator[BaseDataElement]:
    """What the model of a checkpoint (``None``: random weights) predicts for the test data, sample by sample."""
    config = prepare(config, work_dir)
    runner = runner_with_weights(config, checkpoint)
    with building(config):
        loader = runner.build_dataloader(config.test_dataloader)
    runner.model.eval()
    with torch.no_grad(), machine_failures(config, 'test_dataloader'):
        for batch in loader:
            yield from runner.model.test_step(batch)


def build_runner(config: Config) -> Runner:
    """The runner of a config.

    Raises:
        InputError: unknown names or impossible settings.
    """
    # Transmittance fades through the denormal numbers, with which CPUs compute many times slower.
    prepare_processor()
    with building(config):
        return WholeCheckpointRunner.from_cfg(config)


def runner_with_weights(config: Config, checkpoint: str | None) -> Runner:
    """The runner of a config whose network has the weights of a checkpoint, or random ones without.

    mmengine would load what fits and warn of the rest; here everything must fit.
    """
    config.load_from, config.resume = None, False
    runner = build_runner(config)
    if checkpoint is not None:
        load_weights(network_of(runner), checkpoint)
    return runner


def network_of(runner: Runner) -> DistillNeRF:
    """The network that a runner trains."""
    return model_of(runner).network


def model_of(runner: Runner) -> DistillNeRFModel:
    """The model of a runner, without what distributes it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _samples(dataset: torch.utils.data.Dataset, workers: int) -> Iterator[dict[str, dict[str, Views]]]:
    """Every sample once."""
    return iter(DataLoader(dataset, batch_size=None, num_workers=workers))
