"""Memory and loading time in the log; validation before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class ProgressHook(Hook):
    """Add the memory of this process to the log, and warn of a loader that keeps the training waiting.

    Args:
        interval: iterations between two checks of the loader.
        share: warn if more than this share of the time of an iteration is spent waiting for data.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50, share: float = 0.3) -> None:
        self.interval = interval
        self.share = share

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Log the memory; check the loader every ``interval`` iterations."""
        if not torch.cuda.is_available():  # else mmengine logs that of the GPU
            runner.message_hub.update_scalar('train/memory_mb', resident_megabytes())
        if not self.every_n_train_iters(runner, self.interval):
            return
        data, step = (
            runner.message_hub.get_scalar(f'train/{name}').mean(self.interval) for name in ('data_time', 'time')
        )
        if data > self.share * step:
            runner.logger.warning(
                f'the loader is the bottleneck: {data:.2f} of {step:.2f} s of an iteration are spent waiting for data; '
                f'raise train_dataloader.num_workers (now {runner.train_dataloader.num_workers})'
            )


@HOOKS.register_module()
class ValidateFirstHook(Hook):
    """Validate once before the first iteration, so that an error of the validation shows at once."""

    priority = 'VERY_LOW'

    def before_train(self, runner: Runner) -> None:
        """Run the validation loop."""
        if runner.val_loop is not None:
            runner.val_loop.run()


def resident_megabytes() -> float:
    """Return the memory of this process in 1e6 bytes; 0 where the system does not say."""
    status = Path('/proc/self/statm')
    return int(status.read_text().split()[1]) * 4096 / 1e6 if status.is_file() else 0.0
