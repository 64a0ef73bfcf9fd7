"""PSNR and SSIM of rendered images, as a metric of the runner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric

from .depth import average
from .groups import key, view_groups
from .image import psnr, ssim


@METRICS.register_module()
class ImageMetric(BaseMetric):
    """PSNR and SSIM per sample and group of views, averaged over the samples.

    A data sample must hold ``rgb`` ``(T, 3, H, W)``, ``input_views`` and ``target_views`` (T views).
    Results: ``psnr`` and ``ssim`` of the reconstruction (target views that are inputs too), and of the other groups
    of :func:`.groups.view_groups` ``next/psnr``, ``previous/psnr``, ``virtual/psnr``, ...

    Args:
        reconstruction: report the views that are inputs too.
        novel_view: report the other groups.
        clamp: clamp the rendered colours to [0, 1] first, as they are shown. The published code does not.
        collect_device, prefix, collect_dir: of mmengine.
    """

    def __init__(
        self,
        reconstruction: bool = True,
        novel_view: bool = True,
        clamp: bool = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.reconstruction = reconstruction
        self.novel_view = novel_view
        self.clamp = clamp

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one dict of figures per sample."""
        for sample in data_samples:
            self.results.append(self._evaluate(sample))

    def _evaluate(self, sample: dict) -> dict[str, float]:
        """The figures of one sample."""
        rendered, targets = sample['rgb'], sample['target_views']
        if self.clamp:
            rendered = rendered.clamp(0.0, 1.0)
        figures = {}
        for group, positions in view_groups(sample['input_views'], targets).items():
            if self.novel_view if group else self.reconstruction:
                pair = rendered[positions], targets.images[positions]
                figures[key(group, 'psnr')] = psnr(*pair)
                figures[key(group, 'ssim')] = ssim(*pair)
        return figures

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Average over the samples that have the group."""
        return average(results)
