"""Data that the model asks for."""

from __future__ import annotations

from typing import Any

from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ..datasets.dataset import own_datasets
from ..models.wrapper import unwrap


@HOOKS.register_module()
class DataForModelHook(Hook):
    """Load what the model asks for: ``num_camera`` cameras, the past, and boxes to train its detection head on.

    The commands write this into the options of the datasets before they are built
    (:mod:`..configuration.options`), so the hook has nothing left to do. Under mmengine's own runner the datasets read
    their info files a second time.
    """

    def before_run(self, runner: Runner) -> None:
        """Change the options of the datasets of this run."""
        model = unwrap(runner.model)
        options: dict[str, Any] = {}
        if (count := getattr(model, 'num_camera', None)) is not None:
            options['num_camera'] = count
        if count := getattr(getattr(model, 'network', None), 'num_past', 0):
            options['num_past'] = count
        for_training = {'load_boxes': True} if getattr(model, 'detection', None) is not None else {}
        loops = (runner._train_loop, options | for_training), (runner._val_loop, options), (runner._test_loop, options)
        for loop, asked in loops:
            # A loop that this run does not need is still a config.
            for dataset in own_datasets(loop.dataloader.dataset) if isinstance(loop, BaseLoop) else ():
                dataset.reload(**asked)
