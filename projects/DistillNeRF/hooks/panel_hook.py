"""Pictures while training, validating and testing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn

from ..models.wrapper import unwrap
from ..visualization.panel_layout import write_png
from ..visualization.panels import panel


@HOOKS.register_module()
class PanelHook(Hook):
    """Draw panels (:func:`..visualization.panels.panel`) into ``work_dir/panels`` and the runner's visualizer.

    While training it predicts the first sample of the current batch again, in evaluation mode and without
    gradients; the state of the model and of the random generator is as before afterward. While validating and
    testing it draws what the model returned. Only the main process draws.

    The model's ``test_step`` must return one data sample per sample with ``input_views``, ``target_views``, ``rgb``,
    ``depth`` and other fields that the panel shows.

    Args:
        interval: training iterations between two panels; 0 for none while training.
        samples: how many samples of each validation or test run are drawn, from the first on.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 500, samples: int = 4) -> None:
        self.interval = interval
        self.samples = samples
        self._drawn = 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Predict and draw the first sample of this batch, every ``interval`` iterations."""
        if self.every_n_train_iters(runner, self.interval):
            self._draw_training(runner, data_batch)

    def before_val_epoch(self, runner: Runner) -> None:
        """Count from the first sample again."""
        self._drawn = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Count from the first sample again."""
        self._drawn = 0

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[BaseDataElement] | None = None
    ) -> None:
        """Draw what the model returned."""
        self._draw_outputs(runner, f'val_{runner.iter:07d}', outputs)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[BaseDataElement] | None = None
    ) -> None:
        """Draw what the model returned."""
        self._draw_outputs(runner, 'test', outputs)

    @master_only
    def _draw_training(self, runner: Runner, data_batch: Any) -> None:
        """Draw a panel of the current state of training."""
        # The wrapper of distributed training would wait for the other processes.
        model = unwrap(runner.model)
        with evaluating(model), torch.no_grad():
            sample = model.test_step(data_batch)[0]
        _draw(runner, f'train_{runner.iter + 1:07d}', 'train', sample)

    @master_only
    def _draw_outputs(self, runner: Runner, prefix: str, outputs: Sequence[BaseDataElement]) -> None:
        """Draw panels of the next samples, until enough are drawn."""
        for sample in outputs[: self.samples - self._drawn]:
            _draw(runner, f'{prefix}_{self._drawn:03d}', f'{prefix.split("_")[0]}_{self._drawn:03d}', sample)
            self._drawn += 1


def _draw(runner: Runner, file_name: str, name: str, sample: BaseDataElement) -> None:
    """Write one panel to disk and to the visualizer, where pictures of one ``name`` form a series."""
    fields = sample.to_dict()
    title = ' '.join(str(fields[key]) for key in ('scene', 'frame') if key in fields)
    picture = panel(fields['input_views'], fields['target_views'], fields, title)
    write_png(Path(runner.work_dir) / 'panels' / f'{file_name}.png', picture)
    runner.visualizer.add_image(f'panel_{name}', picture, step=runner.iter)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode while inside; then modes and random generators are as before."""
    modes = {module: module.training for module in model.modules()}
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(list(devices)):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
