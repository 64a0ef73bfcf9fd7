"""mmengine's runner with checkpoints that are whole, and from which training goes on exactly as it would have."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import HOOKS, RUNNERS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..models.checkpoint import load_matching_weights, read_checkpoint
from ..models.wrapper import unwrap
from ..utils.errors import LOGGER
from .console import ConsoleFormatter, is_for_console
from .history import bound_history
from .loops import ResumableIterLoop
from .optim_wrappers import BFloat16OptimWrapper as BFloat16OptimWrapper  # its place before
from .resuming import WORLD_SIZE

# What a checkpoint holds for :class:`ExactResumeHook`.
PENDING_GRADIENTS = 'pending_gradients'


@RUNNERS.register_module()
class WholeCheckpointRunner(Runner):
    """Run as mmengine does, but write checkpoints under another name and rename them when they are complete.

    Its log file has the warnings of :func:`..utils.errors.warn`, too. Listings of many lines (the environment,
    the configuration, the order of the hooks) are in the log file alone.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Do as the base class; warnings go to the log file of this run, no longer to that of a run before."""
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

    def build_message_hub(self, message_hub: dict | None = None) -> MessageHub:
        """Do as the base class; the hub keeps no more values than the log reads, so checkpoints do not grow."""
        hub = super().build_message_hub(message_hub)
        bound_history(hub, self.log_processor)
        return hub

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Do as the base class, but an ``IterBasedTrainLoop`` does not load again what it was trained on."""
        if isinstance(loop, dict) and (loop.get('type') == 'IterBasedTrainLoop' or loop.get('by_epoch') is False):
            loop = {**loop, 'type': ResumableIterLoop.__name__}
            loop.pop('by_epoch', None)
        return super().build_train_loop(loop)

    def dump_config(self) -> None:
        """Do as the base class, but leave a config that lies in the work folder as its user wrote it.

        The launcher is no part of what is written.
        """
        name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
        path, given = Path(self.work_dir) / name, copy.deepcopy(self.cfg)
        if self.cfg.filename and path.is_file() and path.samefile(self.cfg.filename):
            return
        given.pop('launcher', None)
        given.dump(str(path))

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args: Any, **kwargs: Any) -> DataLoader:
        """Do as the base class, with pinned memory where there is a CUDA GPU, unless the config says otherwise."""
        if isinstance(dataloader, Mapping) and torch.cuda.is_available():
            dataloader = {'pin_memory': True, **dataloader}
        return Runner.build_dataloader(dataloader, *args, **kwargs)

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Do as the base class, but no reader ever sees half a file."""
        kwargs['meta'] = {**(kwargs.get('meta') or {}), WORLD_SIZE: get_world_size()}
        unfinished = f'.{filename}.part'
        part = Path(out_dir) / unfinished
        try:
            super().save_checkpoint(out_dir, unfinished, *args, **kwargs)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if is_main_process() and part.exists():  # the others might find it half-written
            part.replace(Path(out_dir) / filename)

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Do as the base class, but unwrap names, and report in one line what does not fit.

        Raises:
            InputError: an unreadable checkpoint, nothing in it fits, or weights that are NaN or infinite.
        """
        checkpoint = read_checkpoint(filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_matching_weights(_model(self), checkpoint['state_dict'], filename)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed training the same as one that was never interrupted.

    Before every iteration torch's random generators are seeded with the number of the iteration among those of all
    processes, so that there is no random state to keep (random choices of the loader: :mod:`..datasets.samplers`).
    Gradients that wait to be accumulated are kept in checkpoints, those of the main process for all.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._pending: dict[str, Tensor] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients to a checkpoint."""
        checkpoint[PENDING_GRADIENTS] = _gradients(runner) if _accumulating(runner) else {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the gradients of a checkpoint if the training goes on from it."""
        self._pending = checkpoint.get(PENDING_GRADIENTS, {}) if runner._resume else {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the generators; set the gradients of the checkpoint, once."""
        torch.manual_seed(runner.seed + runner.iter * runner.world_size + runner.rank)
        parameters = dict(_model(runner).named_parameters())
        for name, gradient in self._pending.items():
            parameters[name].grad = gradient.to(parameters[name])
        self._pending = {}


def _accumulating(runner: Runner) -> bool:
    """Return whether gradients of this iteration are kept for the next one."""
    count = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    return (runner.iter + 1) % count != 0


def _gradients(runner: Runner) -> dict[str, Tensor]:
    named = _model(runner).named_parameters()
    return {name: parameter.grad.detach().clone() for name, parameter in named if parameter.grad is not None}


def _model(runner: Runner) -> nn.Module:
    return unwrap(runner.model)
