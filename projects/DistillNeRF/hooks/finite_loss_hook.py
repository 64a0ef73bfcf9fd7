"""End a training that has diverged."""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import InputError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops at the first NaN or infinite loss, before a checkpoint is written from what it left of the weights.

    Raises:
        InputError: names the iteration and the losses.
    """

    priority = 'VERY_HIGH'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Look at the losses of this iteration."""
        if torch.isfinite(outputs['loss']):
            return
        bad = [name for name, value in outputs.items() if name != 'loss' and not torch.isfinite(torch.as_tensor(value))]
        raise InputError(
            f'{runner.work_dir}: iteration {runner.iter + 1} has a loss that is NaN or infinite ({", ".join(bad)}); '
            'lower optim_wrapper.optimizer.lr or look for wrong values in the data, and go on from the last checkpoint '
            'with --resume'
        )
