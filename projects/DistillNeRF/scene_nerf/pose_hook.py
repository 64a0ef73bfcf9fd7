"""Corrects the poses of cameras as the training of a field goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ..utils.errors import InputError
from .numbers import check_number


@HOOKS.register_module()
class CorrectPoses(Hook):
    """Turn the cameras of a scene NeRF at some shares of the training, if its ``correct_poses`` says so.

    Args:
        at: when.
    """

    # After cells are divided, before the timer.
    priority = 'ABOVE_NORMAL'

    def __init__(self, at: Sequence[float] = (0.2, 0.3, 0.4, 0.55, 0.7)) -> None:
        if not isinstance(at, Sequence):
            raise InputError(f'at of CorrectPoses is {at!r}; list shares of the training')
        for share in at:
            check_number('at of CorrectPoses', share, least=0)
        self.at = tuple(at)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Turn the cameras where it is time to, and tell by how much."""
        model = runner.model
        if not model.correct_poses or runner.iter + 1 not in {round(share * runner.max_iters) for share in self.at}:
            return
        before = model.turns
        model.eval()
        model.turn_cameras(runner.train_dataloader.dataset)
        model.train()
        changed = model.turns if before is None else model.turns - before
        runner.logger.info(f'cameras turned by {_described(model.turns)} mrad, changed by {_described(changed)}')


def _described(turns: Tensor) -> str:
    sizes = 1000 * turns.norm(dim=1)
    return f'{torch.sqrt(sizes.square().mean()):.2f} (largest {sizes.max():.2f})'
