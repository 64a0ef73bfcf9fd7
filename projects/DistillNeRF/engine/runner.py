"""mmengine's runner with checkpoints that are whole, and from which training goes on exactly as it would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import HOOKS, RUNNERS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

# What a checkpoint holds for :class:`ExactResumeHook`.
RANDOM_STATE, PENDING_GRADIENTS = 'random_state', 'pending_gradients'


@RUNNERS.register_module()
class WholeCheckpointRunner(Runner):
    """A runner that writes a checkpoint under another name and renames it when it is complete."""

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Like the base class, but no reader ever sees half a file."""
        unfinished = f'.{filename}.part'
        super().save_checkpoint(out_dir, unfinished, *args, **kwargs)
        part = Path(out_dir) / unfinished
        if part.exists():  # the main process writes
            part.replace(Path(out_dir) / filename)


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Keeps what mmengine leaves out of checkpoints: torch's random state, and gradients that wait to be accumulated.

    They are set before the first iteration. The data loader draws its random numbers again while mmengine advances it
    to its position, in Python's generator, which is therefore left alone.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add both."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint[RANDOM_STATE] = {'cpu': torch.get_rng_state(), 'cuda': cuda}
        checkpoint[PENDING_GRADIENTS] = _gradients(runner) if _accumulating(runner) else {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember both."""
        self._loaded = checkpoint

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set both, once."""
        loaded, self._loaded = self._loaded, None
        if loaded is None or not runner._resume:
            return
        if state := loaded.get(RANDOM_STATE):
            torch.set_rng_state(state['cpu'].cpu())
            if len(state['cuda']) == torch.cuda.device_count() > 0:
                torch.cuda.set_rng_state_all([part.cpu() for part in state['cuda']])
        parameters = dict(_model(runner).named_parameters())
        for name, gradient in loaded.get(PENDING_GRADIENTS, {}).items():
            parameters[name].grad = gradient.to(parameters[name])


def _accumulating(runner: Runner) -> bool:
    """Whether gradients of this iteration are kept for the next one."""
    count = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    return (runner.iter + 1) % count != 0


def _gradients(runner: Runner) -> dict[str, Tensor]:
    named = _model(runner).named_parameters()
    return {name: parameter.grad.detach().clone() for name, parameter in named if parameter.grad is not None}


def _model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
