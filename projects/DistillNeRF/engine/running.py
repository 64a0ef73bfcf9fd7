"""Train and evaluate with mmengine's Runner."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from ..errors import InputError
from ..evaluation.baselines import evaluate_baselines, mean_images
from ..files import require_file
from ..modules.views import Views

# What ``tools/test.py --eval`` offers, and the metrics behind it.
EVALUATIONS = {
    'psnr': {'type': 'ImageMetric', 'reconstruction': True, 'novel_view': False},
    'novel_view': {'type': 'ImageMetric', 'reconstruction': False, 'novel_view': True},
    'depth': {'type': 'DepthMetric'},
}


def prepare(config: Config, work_dir: Path, seed: int | None = None) -> Config:
    """A copy of the config for one run in ``work_dir``."""
    config = copy.deepcopy(config)
    config.work_dir = str(work_dir)
    if seed is not None:
        config.randomness = {'seed': seed}
    return config


def train(
    config: Config, work_dir: Path, seed: int = 0, amp: bool = False, resume: str | None = None, launcher: str = 'none'
) -> None:
    """Train as the config says.

    Args:
        resume: checkpoint to go on from; ``auto`` takes the newest in ``work_dir``.

    Raises:
        InputError: wrong input anywhere on the way.
    """
    config = prepare(config, work_dir, seed)
    config.launcher = launcher
    if amp:
        if not torch.cuda.is_available():
            raise InputError('--amp: mixed precision needs a CUDA GPU, and there is none; leave the option out')
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.loss_scale = 'dynamic'
    if resume is not None:
        config.resume = True
        if resume != 'auto':
            config.load_from = str(checked_checkpoint(resume))
    Runner.from_cfg(config).train()


def evaluate(config: Config, checkpoint: str | None, work_dir: Path, evaluations: Sequence[str]) -> dict[str, float]:
    """Metrics of a checkpoint on the test data.

    Args:
        checkpoint: ``None`` evaluates random weights.
        evaluations: some of :data:`EVALUATIONS`.
    """
    config = prepare(config, work_dir)
    config.test_evaluator = [EVALUATIONS[name] for name in evaluations]
    config.load_from = None if checkpoint is None else str(checked_checkpoint(checkpoint))
    return {key: float(value) for key, value in Runner.from_cfg(config).test().items()}


def baselines(config: Config) -> dict[str, float]:
    """What needs no model, on the same test views (:mod:`..evaluation.baselines`)."""
    training = build_dataset(config.train_dataloader.dataset)
    test = build_dataset(config.test_dataloader.dataset)
    means = mean_images(sample['inputs']['input_views'] for sample in _samples(training))
    inputs = (sample['inputs'] for sample in _samples(test))
    return evaluate_baselines(means, ((views['input_views'], views['target_views']) for views in inputs))


def build_dataset(config: dict) -> torch.utils.data.Dataset:
    """The dataset of a config."""
    return DATASETS.build(config)


def predictions(config: Config, checkpoint: str | None, work_dir: Path) -> Iterator[BaseDataElement]:
    """What the model of a checkpoint (``None``: random weights) predicts for the test data, sample by sample."""
    config = prepare(config, work_dir)
    config.load_from = None if checkpoint is None else str(checked_checkpoint(checkpoint))
    runner = Runner.from_cfg(config)
    runner.load_or_resume()
    loader = runner.build_dataloader(config.test_dataloader)
    runner.model.eval()
    with torch.no_grad():
        for batch in loader:
            yield from runner.model.test_step(batch)


def checked_checkpoint(path: str | Path) -> Path:
    """The path of a checkpoint that can be read.

    Raises:
        InputError: missing, truncated, or no checkpoint of ours.
    """
    path = require_file(path, 'give a checkpoint that tools/train.py wrote')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception as error:
        raise InputError(
            f'{path}: not a readable checkpoint ({type(error).__name__}); it may be truncated, use another one'
        ) from error
    if not isinstance(state, dict) or 'state_dict' not in state:
        raise InputError(f'{path}: holds no state_dict; give a checkpoint that tools/train.py wrote')
    return path


def _samples(dataset: torch.utils.data.Dataset) -> Iterator[dict[str, dict[str, Views]]]:
    """Every sample once, loaded by one worker."""
    return iter(DataLoader(dataset, batch_size=None, num_workers=1))
