"""Build what a config describes: a dataset, a runner, a network with the weights of a checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from ..configuration.config import building
from ..configuration.contradictions import check_together
from ..models.checkpoint import load_weights
from ..models.network import DistillNeRF
from ..models.wrapper import DistillNeRFModel, unwrap
from ..utils.files import require_writable
from ..utils.precision import DEFAULT, require_precision
from .machine import prepare_processor
from .runner import WholeCheckpointRunner


def prepare(config: Config, work_dir: Path, seed: int | None = None) -> Config:
    """Return a copy of a config for one run.

    Args:
        config: as loaded; it stays as it is.
        work_dir: folder of the run; it is made.
        seed: takes the place of that of ``randomness``; ``None`` keeps that.

    Raises:
        InputError: nothing can be written to the folder, or settings that belong together are not all there.
    """
    check_together(config)
    config = copy.deepcopy(config)
    config.work_dir = str(require_writable(work_dir))
    if seed is not None:
        config.randomness = {**config.get('randomness', {}), 'seed': seed}
    return config


def build_dataset(config: Config, split: str) -> torch.utils.data.Dataset:
    """Build the dataset of a config's ``train``, ``val`` or ``test`` dataloader.

    Raises:
        InputError: unknown options, or what the dataset finds wrong with its files.
    """
    # As a runner does first.
    init_default_scope('mmdet3d')
    with building(config):
        return DATASETS.build(config[f'{split}_dataloader'].dataset)


def build_runner(config: Config) -> Runner:
    """Build the runner of a config.

    Raises:
        InputError: unknown names or impossible settings.
    """
    # Transmittance fades through the denormal numbers, with which CPUs compute many times slower.
    prepare_processor()
    with building(config):
        return WholeCheckpointRunner.from_cfg(config)


def runner_with_weights(config: Config, checkpoint: str | None, precision: str = DEFAULT) -> Runner:
    """Build the runner of a config, with the weights of a checkpoint; ``None`` leaves random ones.

    mmengine would load the weights that fit and warn of the others; here all must fit.

    Raises:
        InputError: bad files, or the device of the model does not compute in ``precision`` (:mod:`..utils.precision`).
    """
    config.load_from, config.resume = None, False
    runner = build_runner(config)
    network = network_of(runner)
    require_precision(precision, next(network.parameters()).is_cpu, '--precision')
    network.precision = precision
    if checkpoint is not None:
        load_weights(network, checkpoint)
    return runner


def network_of(runner: Runner) -> DistillNeRF:
    """Return the network that a runner trains."""
    return model_of(runner).network


def model_of(runner: Runner) -> DistillNeRFModel:
    """Return the model of a runner, without the wrapper of distributed training."""
    return unwrap(runner.model)
