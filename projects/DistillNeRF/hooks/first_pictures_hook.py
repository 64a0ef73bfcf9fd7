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
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..visualization.options import PictureOptions
from ..visualization.sample_pictures import draw_sample
from .panel_hook import evaluating


@HOOKS.register_module()
class FirstPicturesHook(Hook):
    """Draws the first samples of the training data as the weights see them that training begins with.

    The options are those of the config's ``model`` (:class:`..visualization.options.PictureOptions`). The state of the
    model and of the random generators is as before afterward. Only the main process draws.

    Args:
        options: what to draw, the fields of :class:`PictureOptions`.
        directory: where pictures go.
        samples: how many samples.
    """

    def __init__(self, options: Mapping[str, Any], directory: str, samples: int = 4) -> None:
        self.options, self.directory, self.samples = PictureOptions.of(options), directory, samples

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Draw, once."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = runner.train_dataloader.dataset
        state = random.getstate()  # transforms and the choice of targets draw from it
        try:
            with evaluating(model), torch.no_grad():
                for number in range(min(self.samples, len(dataset))):
                    sample = model.test_step(pseudo_collate([dataset[number]]))[0]
                    for path in draw_sample(sample.to_dict(), self.options, Path(self.directory), number):
                        runner.logger.info(f'wrote {path}')
        finally:
            random.setstate(state)
