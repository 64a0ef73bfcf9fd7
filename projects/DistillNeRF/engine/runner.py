"""mmengine's runner with checkpoints that are whole, and from which training goes on exactly as it would have."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import HOOKS, LOOPS, OPTIM_WRAPPERS, RUNNERS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from ..models.checkpoint import load_what_fits, read_checkpoint
from ..utils.errors import LOGGER
from .console import ConsoleFormatter, is_for_console
from .resuming import WORLD_SIZE

# What a checkpoint holds for :class:`ExactResumeHook`.
PENDING_GRADIENTS = 'pending_gradients'


@RUNNERS.register_module()
class WholeCheckpointRunner(Runner):
    """A runner that writes a checkpoint under another name and renames it when it is complete.

    Its log file has the warnings of :func:`..errors.warn`, too. What takes many lines (the environment, the
    configuration, the order of the hooks) is in the log file alone, so that the console ends with what matters.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Like the base class; this run's log file takes over the warnings from that of a run before."""
        logger = super().build_logger(*args, **kwargs)
        for handler in [handler for handler in LOGGER.handlers if isinstance(handler, logging.FileHandler)]:
            LOGGER.removeHandler(handler)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                LOGGER.addHandler(handler)
                logger.info(f'log, with the configuration: {handler.baseFilename}')
            else:
                handler.addFilter(is_for_console)
                handler.setFormatter(ConsoleFormatter(handler.formatter))
        return logger

    def dump_config(self) -> None:
        """Like the base class, but a config that lies in the work folder is left as its user wrote it.

        How processes were started is no part of it.
        """
        name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
        path, given = Path(self.work_dir) / name, copy.deepcopy(self.cfg)
        if self.cfg.filename and path.is_file() and path.samefile(self.cfg.filename):
            return
        given.pop('launcher', None)
        given.dump(str(path))

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Like the base class, but no reader ever sees half a file."""
        kwargs['meta'] = {**(kwargs.get('meta') or {}), WORLD_SIZE: get_world_size()}
        unfinished = f'.{filename}.part'
        part = Path(out_dir) / unfinished
        try:
            super().save_checkpoint(out_dir, unfinished, *args, **kwargs)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if part.exists():  # the main process writes
            part.replace(Path(out_dir) / filename)

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Like the base class, but names are unwrapped, and what does not fit is said in one line.

        Raises:
            InputError: an unreadable checkpoint, nothing in it fits, or weights that are NaN or infinite.
        """
        checkpoint = read_checkpoint(filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_what_fits(_model(self), checkpoint['state_dict'], filename)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a resumed training the training that was cut.

    Before every iteration torch's random generators are seeded with the number of the iteration among those of all
    processes, so that there is no random state to keep (what the loader draws: :mod:`..datasets.draws`). Gradients that
    wait to be accumulated are kept in checkpoints, those of the main process for all.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._pending: dict[str, Tensor] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients."""
        checkpoint[PENDING_GRADIENTS] = _gradients(runner) if _accumulating(runner) else {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember them if the training is to go on."""
        self._pending = checkpoint.get(PENDING_GRADIENTS, {}) if runner._resume else {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed; set the gradients, once."""
        torch.manual_seed(runner.seed + runner.iter * runner.world_size + runner.rank)
        parameters = dict(_model(runner).named_parameters())
        for name, gradient in self._pending.items():
            parameters[name].grad = gradient.to(parameters[name])
        self._pending = {}


def _accumulating(runner: Runner) -> bool:
    """Whether gradients of this iteration are kept for the next one."""
    count = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    return (runner.iter + 1) % count != 0


def _gradients(runner: Runner) -> dict[str, Tensor]:
    named = _model(runner).named_parameters()
    return {name: parameter.grad.detach().clone() for name, parameter in named if parameter.grad is not None}


def _model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the network under bfloat16 autocast on the device of its weights; bfloat16 needs no loss scaling."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """After a resume, passes over the samples of the epoch that were trained on already.

    The order of the samples and what is drawn for each are those of the epoch (:mod:`..datasets.draws`).
    """

    def run_epoch(self) -> None:
        """Like the base class, but for the samples that are passed over."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        for index, batch in enumerate(self.dataloader):
            if index >= done:
                self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
