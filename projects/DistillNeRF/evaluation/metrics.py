"""Register the metrics of the runner: PSNR and SSIM of rendered images, errors of depth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..geometry.views import Views
from ..utils.errors import warn
from .depth import FULL_RANGE, INNER_RANGE, average, depth_errors, distance_to_z, resample_depth
from .image import psnr, ssim
from .intervals import draw_scenes, interval, resampled_means
from .report import key, view_groups


@dataclass(frozen=True)
class SampleResult:
    """What a metric found in a sample.

    Attributes:
        scene, token: of the sample; None if it does not say.
        result: figures, or what a subclass merges.
    """

    scene: str | None
    token: str | None
    result: Any


class SampleMetric(BaseMetric):
    """A metric of single samples, averaged over those that have the figure, unless a subclass merges them otherwise.

    Several processes gather their figures through their process group. mmengine's way is files in the current folder,
    which every machine would have to share; it is taken where ``collect_device='cpu'`` or a folder is asked for.

    Args:
        collect_device, prefix, collect_dir: see mmengine's ``BaseMetric``.

    Attributes:
        samples: the results of all samples, after ``evaluate``.
    """

    def __init__(
        self, collect_device: str | None = None, prefix: str | None = None, collect_dir: str | None = None
    ) -> None:
        # mmengine calls it so on every device.
        through_group = collect_device is None and collect_dir is None
        super().__init__('gpu' if through_group else collect_device or 'cpu', prefix, collect_dir)

        self.samples: list[SampleResult] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one result per sample: that of several processes is known by its place."""
        for sample in data_samples:
            self.results.append(SampleResult(sample.get('scene'), sample.get('token'), self._evaluate(sample)))

    @abstractmethod
    def _evaluate(self, sample: dict) -> Any:
        """Return the figures of one sample."""

    def compute_metrics(self, results: list[SampleResult]) -> dict[str, float]:
        """Merge the results of all samples, and keep these."""
        self.samples = results
        return self.merge([one.result for one in results])

    def merge(self, results: list[Any]) -> dict[str, float]:
        """Average over the samples that have the figure."""
        return average(results)

    def resampled(self, scenes: Sequence[Sequence[Any]], weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return what :meth:`merge` would give of scenes that are drawn several times, ``(R,)`` of each figure.

        Args:
            scenes: results of each.
            weights: ``(R, S)`` how often each scene was drawn.
        """
        return resampled_means(scenes, weights)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals of the figures by the bootstrap over scenes; none of a single scene.

        Names are those of ``evaluate``, with the prefix. Where processes share the samples, the main one knows.
        """
        scenes: dict[str | None, list[Any]] = {}
        for one in self.samples:
            scenes.setdefault(one.scene, []).append(one.result)
        if len(scenes) < 2 or None in scenes:
            return {}
        draws = self.resampled(list(scenes.values()), draw_scenes(len(scenes)))
        found = {key(self.prefix or '', name): interval(values) for name, values in draws.items()}
        return {name: bounds for name, bounds in found.items() if bounds is not None}


@METRICS.register_module()
class ImageMetric(SampleMetric):
    """PSNR and SSIM per sample and group of views, averaged over the samples.

    A data sample must hold ``rgb`` ``(T, 3, H, W)``, ``input_views`` and ``target_views`` (T views).
    Results: ``psnr`` and ``ssim`` of the reconstruction (target views that are inputs too), and of the other groups
    of :func:`.report.view_groups` ``next/psnr``, ``previous/psnr``, ``virtual/psnr``, ...

    Args:
        reconstruction: report the views that are inputs too.
        novel_view: report the other groups.
        clamp: clamp the rendered colors to [0, 1] first, as they are shown. The published code does not.
        collect_device, prefix, collect_dir: see :class:`SampleMetric`.
    """

    def __init__(
        self,
        reconstruction: bool = True,
        novel_view: bool = True,
        clamp: bool = True,
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.reconstruction = reconstruction
        self.novel_view = novel_view
        self.clamp = clamp

    def _evaluate(self, sample: dict) -> dict[str, float]:
        """Return the figures of one sample."""
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


# Name in the results -> field of the views. The dense truth has no name: it is the first thing to look at.
REFERENCES = {'': 'true_depth', 'lidar': 'lidar_depth', 'teacher': 'teacher_depth'}


@METRICS.register_module()
class DepthMetric(SampleMetric):
    """abs_rel, sq_rel, rmse, rmse_log, a1, a2, a3 per sample, averaged over the samples.

    A data sample must hold ``depth`` ``(T, h, w)``, the rendered distance along the ray, ``input_views`` (N) and
    ``target_views`` (T); ``coarse_depth`` and ``fine_depth`` ``(N, H, W)`` are evaluated where present.

    Results are named group / map / reference / range / error, parts left out that are usual: ``abs_rel`` is the
    rendered depth of the input views against the dense truth up to 80 m, ``inner/abs_rel`` up to 50 m,
    ``lidar/abs_rel`` against LiDAR, ``teacher/abs_rel`` against the teacher, ``coarse/lidar/inner/abs_rel`` of the
    coarse depth, ``next/abs_rel`` at the next frame. References that the views do not have are left out.

    The prediction is converted to z, then brought to the pixels of the reference (:func:`.depth.resample_depth`).

    Args:
        published_quirks: compare the distance along the ray with z as they are, like the published code.
        collect_device, prefix, collect_dir: see :class:`SampleMetric`.
    """

    def __init__(
        self,
        published_quirks: bool = False,
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.published_quirks = published_quirks

    def _evaluate(self, sample: dict) -> dict[str, float]:
        """Return the figures of one sample."""
        inputs, targets = sample['input_views'], sample['target_views']
        figures = {}
        for group, positions in view_groups(inputs, targets).items():
            figures |= self._errors(group, sample['depth'][positions], targets[positions])
        for name in ('coarse', 'fine'):
            if sample.get(f'{name}_depth') is not None:
                figures |= self._errors(name, sample[f'{name}_depth'], inputs)
        return figures

    def _errors(self, name: str, distance: Tensor, views: Views) -> dict[str, float]:
        """Return the errors of one map ``(V, h, w)`` against every reference of its views."""
        depth = distance if self.published_quirks else distance_to_z(distance, views.cameras)
        figures = {}
        for reference, field in REFERENCES.items():
            target = getattr(views, field)
            if target is None:
                continue
            at_target = resample_depth(depth, *target.shape[-2:])
            for bounds, limit in (('', FULL_RANGE), ('inner', INNER_RANGE)):
                for error, value in depth_errors(at_target, target, limit).items():
                    figures[key(name, reference, bounds, error)] = value
        return figures

    def merge(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Average over the samples that have the figure."""
        if results and not any(results):
            warn(f'no depth is known in the views of any of the {len(results)} samples: no figures of depth')
        return super().merge(results)
