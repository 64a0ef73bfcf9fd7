"""Pictures of the training data before the first iteration."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import HOOKS
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..models.wrapper import unwrap
from ..visualization.options import PictureOptions
from ..visualization.sample_pictures import draw_sample
from .panel_hook import evaluating


@HOOKS.register_module()
class FirstPicturesHook(Hook):
    """Draw the first samples of the training data as the weights see them that training begins with.

    The state of the model and of the random generators is as before afterward. Only the main process draws.

    Args:
        options: what to draw, the fields of :class:`..visualization.options.PictureOptions`; ``None`` for what the
            ``model`` of the run's config asks for, which may be nothing.
        directory: where pictures go; ``None`` for the ``vis_save_directory`` of the options, or ``visualization`` in
            the work folder.
        samples: how many samples.
    """

    def __init__(
        self, options: Mapping[str, Any] | None = None, directory: str | None = None, samples: int = 4
    ) -> None:
        self.options, self.directory, self.samples = options, directory, samples

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Draw the first samples."""
        options = PictureOptions.of(runner.cfg.get('model', {}) if self.options is None else self.options)
        options.check_use()
        if not options.anything:
            return
        directory = Path(self.directory) if self.directory else options.directory(runner.work_dir)
        model = unwrap(runner.model)
        dataset = runner.train_dataloader.dataset
        state = random.getstate()  # transforms and the choice of targets draw from it
        try:
            with evaluating(model), torch.no_grad():
                for number in range(min(self.samples, len(dataset))):
                    sample = model.test_step(pseudo_collate([dataset[number]]))[0]
                    for path in draw_sample(sample.to_dict(), options, directory, number):
                        runner.logger.info(f'wrote {path}')
        finally:
            random.setstate(state)
