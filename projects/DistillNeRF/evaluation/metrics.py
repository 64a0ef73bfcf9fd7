"""Register the metrics of the runner: PSNR and SSIM of rendered images, errors of depth."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..geometry.views import Views
from ..losses.image import GET_WEIGHTS, PerceptualDistance
from ..utils.errors import InputError, warn
from .depth import (
    FULL_RANGE,
    INNER_RANGE,
    REFERENCES,
    average,
    depth_errors,
    distance_to_z,
    errors_up_to,
    resample_depth,
)
from .holes import is_hole, share_of_holes
from .image import SMALLEST_GAUSSIAN, SMALLEST_LPIPS, psnr, ssim, ssims, ssims_gaussian
from .intervals import draw_scenes, interval, resampled_means
from .parts import CAMERA, DISTANCE, KINDS, MOTION, SCENE, camera_positions, part_key, pixel_masks
from .recoloring import CHANNELS, recolored, recolored_as_published
from .report import key, places, view_groups

# How to get the weights of LPIPS; for messages.
GET_LPIPS = f'{GET_WEIGHTS}; or do without: lpips_weights=None in the ImageMetric of the config'


@dataclass(frozen=True)
class SampleResult:
    """What a metric found in a sample.

    Attributes:
        scene, token: of the sample; None if it does not say.
        result: figures, or what a subclass merges.
        skipped: why figures of it are missing.
    """

    scene: str | None
    token: str | None
    result: Any
    skipped: tuple[str, ...] = ()


class SampleMetric(BaseMetric):
    """A metric of single samples, averaged over those that have the figure, unless a subclass merges them otherwise.

    Several processes gather their figures through their process group. mmengine's way is files in the current folder,
    which every machine would have to share; it is taken where ``collect_device='cpu'`` or a folder is asked for.

    Args:
        collect_device, prefix, collect_dir: see mmengine's ``BaseMetric``.

    Attributes:
        samples: the results of all samples, after ``evaluate``.
        by: kinds of parts (:mod:`.parts`) that also get figures, named as by :func:`.parts.part_key`.
    """

    # Kinds of parts that a subclass can measure; scenes are told apart here.
    PARTS: tuple[str, ...] = ()

    def __init__(
        self, collect_device: str | None = None, prefix: str | None = None, collect_dir: str | None = None
    ) -> None:
        # mmengine calls it so on every device.
        through_group = collect_device is None and collect_dir is None
        super().__init__('gpu' if through_group else collect_device or 'cpu', prefix, collect_dir)

        self.samples: list[SampleResult] = []
        self.by: tuple[str, ...] = ()
        self._skipped: list[str] = []

    def split_by(self, kinds: Sequence[str]) -> None:
        """Also measure parts, of those kinds that this metric knows.

        Raises:
            InputError: there is no such kind at all.
        """
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise InputError(f'{type(self).__name__}: by has {unknown[0]!r}; choose from {", ".join(KINDS)}')
        self.by = tuple(kind for kind in KINDS if kind in kinds and kind in (*self.PARTS, SCENE))

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one result per sample: that of several processes is known by its place."""
        for sample in data_samples:
            self._skipped = []
            result = self._evaluate(sample)
            reasons = tuple(dict.fromkeys(self._skipped))
            self.results.append(SampleResult(sample.get('scene'), sample.get('token'), result, reasons))

    @abstractmethod
    def _evaluate(self, sample: dict) -> Any:
        """Return the figures of one sample; say with :meth:`_skip` why some are missing."""

    def _skip(self, reason: str) -> None:
        """Note why the sample that is evaluated has no figure of some kind: words that follow "with"."""
        self._skipped.append(reason)

    def compute_metrics(self, results: list[SampleResult]) -> dict[str, float]:
        """Merge the results of all samples, and keep these; tell of what was skipped."""
        self.samples = results
        self._tell_of_skipped()
        return self.merge([one.result for one in results]) | self._of_scenes()

    def _tell_of_skipped(self) -> None:
        """Warn in one line of samples whose figures do not count."""
        counts: dict[str, list[str | None]] = {}
        for one in self.samples:
            for reason in one.skipped:
                counts.setdefault(reason, []).append(one.token)
        if counts:
            told = [f'{len(tokens)} with {reason} (such as {tokens[0]})' for reason, tokens in counts.items()]
            name = type(self).__name__
            warn(f'{name}: not every figure is of all {len(self.samples)} samples: {", ".join(told)}')

    def _scenes(self) -> dict[str | None, list[Any]]:
        """Return the results of each scene."""
        scenes: dict[str | None, list[Any]] = {}
        for one in self.samples:
            scenes.setdefault(one.scene, []).append(one.result)
        return scenes

    def _of_scenes(self) -> dict[str, float]:
        """Return the figures of each scene, if they are asked for."""
        scenes = self._scenes() if SCENE in self.by else {}
        if not scenes or None in scenes:
            return {}
        found = self.resampled(list(scenes.values()), np.eye(len(scenes), dtype=np.int64))
        return {
            part_key(name, SCENE, str(scene)): float(value)
            for name, values in found.items()
            if '@' not in name
            for scene, value in zip(scenes, values, strict=True)
            if not np.isnan(value)
        }

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
        scenes = self._scenes()
        if len(scenes) < 2 or None in scenes:
            return {}
        draws = self.resampled(list(scenes.values()), draw_scenes(len(scenes)))
        found = {key(self.prefix or '', name): interval(values) for name, values in draws.items()}
        return {name: bounds for name, bounds in found.items() if bounds is not None}


@METRICS.register_module()
class ImageMetric(SampleMetric):
    """PSNR, SSIM and LPIPS per sample and group of views, averaged over the samples.

    A data sample must hold ``rgb`` ``(T, 3, H, W)``, ``input_views`` and ``target_views`` (T views).
    Results: ``psnr``, ``ssim``, ``ssim_gaussian`` and ``lpips`` of the reconstruction
    (target views that are inputs too), and of the other groups of :func:`.report.view_groups` ``next/psnr``,
    ``previous/psnr``, ``virtual/psnr``, ...; of parts as ``psnr@camera=CAM_FRONT``, ``psnr@motion=moving``.

    Args:
        reconstruction: report the views that are inputs too.
        novel_view: report the other groups.
        clamp: clamp the rendered colors to [0, 1] first, as they are shown. The published code does not.
        lpips_weights: file of the weights of LPIPS with VGG-16; None: no LPIPS.
        recolor: also ``psnr_recolored`` and ``ssim_recolored``, of images after :func:`.recoloring.recolored`.
        published_quirks: recolor as the published code does (recoloring-count): all images of a group together.
        by: parts, see :class:`SampleMetric`: ``camera``, ``motion`` (PSNR alone), ``scene``.
        collect_device, prefix, collect_dir: see :class:`SampleMetric`.

    Raises:
        InputError: a bad file of weights; ``published_quirks`` without ``recolor``, or with more than three images.
    """

    PARTS = (CAMERA, MOTION)

    def __init__(
        self,
        reconstruction: bool = True,
        novel_view: bool = True,
        clamp: bool = True,
        lpips_weights: str | None = None,
        recolor: bool = False,
        published_quirks: bool = False,
        by: Sequence[str] = (),
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        if published_quirks and not recolor:
            raise InputError('ImageMetric: published_quirks is a way to recolor; set recolor, too, or leave it away')
        self.reconstruction = reconstruction
        self.novel_view = novel_view
        self.clamp = clamp
        self.recolor = recolor
        self.published_quirks = published_quirks
        self._distance: PerceptualDistance | None = None
        if lpips_weights is not None:
            self._distance = PerceptualDistance()
            self._distance.load(lpips_weights, GET_LPIPS)
        self.split_by(by)

    def _evaluate(self, sample: dict) -> dict[str, float]:
        """Return the figures of one sample."""
        rendered, targets = sample['rgb'], sample['target_views']
        if self.clamp:
            rendered = rendered.clamp(0.0, 1.0)
        figures = {}
        for group, positions in view_groups(sample['input_views'], targets).items():
            if self.novel_view if group else self.reconstruction:
                chosen = places(positions)
                figures |= self._compare(group, rendered[chosen], targets[chosen])
        return figures

    def _compare(self, group: str, rendered: Tensor, views: Views) -> dict[str, float]:
        """Return the figures of a group of views."""
        pair = rendered, views.images
        # Whatever the images: NaN and infinity in one of them alone make it so.
        if not math.isfinite(of_all := psnr(*pair)):
            self._skip('NaN in an image')
            return {}
        each = self._of_each(*pair)
        figures = {'psnr': of_all} | {name: _mean(values) for name, values in each.items()}
        if self.recolor:
            changed = self._recolored(*pair)
            figures |= {'psnr_recolored': psnr(changed, views.images), 'ssim_recolored': ssim(changed, views.images)}
        if CAMERA in self.by:
            for camera, chosen in camera_positions(views).items():
                figures[part_key('psnr', CAMERA, camera)] = psnr(*(image[chosen] for image in pair))
                for name, values in each.items():
                    figures[part_key(name, CAMERA, camera)] = _mean([values[position] for position in chosen])
        if MOTION in self.by:
            for kind, value, mask in pixel_masks((MOTION,), views, *views.images.shape[-2:]):
                if mask.any():
                    figures[part_key('psnr', kind, value)] = psnr(*(image.movedim(1, -1)[mask] for image in pair))
        return {key(group, name): value for name, value in figures.items()}

    def _recolored(self, rendered: Tensor, images: Tensor) -> Tensor:
        """Return the rendered images of a group with the colors of the true ones."""
        if not self.published_quirks:
            return recolored(rendered, images)
        if len(images) > CHANNELS:
            raise InputError(
                f'ImageMetric: the published recoloring fits as many color channels as there are images, {len(images)} '
                f'here; leave published_quirks away, or choose {CHANNELS} cameras (num_camera={CHANNELS})'
            )
        return recolored_as_published(rendered, images)

    def _of_each(self, rendered: Tensor, images: Tensor) -> dict[str, list[float]]:
        """Return what is measured of every image alone, by name."""
        each = {'ssim': ssims(rendered, images)}
        smallest = min(images.shape[-2:])
        if smallest >= SMALLEST_GAUSSIAN:
            each['ssim_gaussian'] = ssims_gaussian(rendered, images)
        if self._distance is not None and smallest >= SMALLEST_LPIPS:
            with torch.no_grad():
                each['lpips'] = self._distance.to(images.device).of_each(rendered, images).tolist()
        return each


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))


DEPTH_NAMES = {'': 'true depth', 'lidar': 'LiDAR depth', 'teacher': 'teacher depth'}
# References that show where surfaces are; a teacher may have none of its own.
SHOW_SURFACES = ('', 'lidar')


@METRICS.register_module()
class DepthMetric(SampleMetric):
    """abs_rel, sq_rel, rmse, rmse_log, a1, a2, a3, and the share of holes per sample, averaged over the samples.

    A data sample must hold ``depth`` ``(T, h, w)``, the rendered distance along the ray, ``input_views`` (N) and
    ``target_views`` (T); ``coarse_depth`` and ``fine_depth`` ``(N, H, W)`` are evaluated where present. Where
    ``opacity`` ``(T, h, w)`` is, too, there are :mod:`.holes` of the rendered views.

    Results are named group / map / reference / range / error, parts left out that are usual: ``abs_rel`` is the
    rendered depth of the input views against the dense truth up to 80 m, ``inner/abs_rel`` up to 50 m,
    ``lidar/abs_rel`` against LiDAR, ``teacher/abs_rel`` against the teacher, ``coarse/lidar/inner/abs_rel`` of the
    coarse depth, ``next/abs_rel`` at the next frame. References that the views do not have are left out.

    ``holes``, ``lidar/holes``, ``next/holes``: the share of pixels with a surface, or a LiDAR point, at any distance,
    whose ray is transparent. Teachers do not say where there is none.

    The prediction is converted to z, then brought to the pixels of the reference (:func:`.depth.resample_depth`).

    Parts, as ``abs_rel@distance=0-10m``, are of the rendered depth up to 80 m; the estimate is clipped to 80 m there,
    too, whatever the range.

    Args:
        published_quirks: compare the distance along the ray with z as they are, like the published code.
        by: parts, see :class:`SampleMetric`: ``camera``, ``distance``, ``motion``, ``scene``.
        collect_device, prefix, collect_dir: see :class:`SampleMetric`.
    """

    PARTS = (CAMERA, DISTANCE, MOTION)

    def __init__(
        self,
        published_quirks: bool = False,
        by: Sequence[str] = (),
        collect_device: str | None = None,
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.published_quirks = published_quirks
        self.split_by(by)

    def _evaluate(self, sample: dict) -> dict[str, float]:
        """Return the figures of one sample."""
        inputs, targets = sample['input_views'], sample['target_views']
        figures = {}
        for group, positions in view_groups(inputs, targets).items():
            chosen = places(positions)
            figures |= self._errors(group, sample['depth'][chosen], targets[chosen], self.by)
            if sample.get('opacity') is not None:
                figures |= self._holes(group, sample['opacity'][chosen], targets[chosen])
        for name in ('coarse', 'fine'):
            if sample.get(f'{name}_depth') is not None:
                figures |= self._errors(name, sample[f'{name}_depth'], inputs, by=())
        return figures

    def _errors(self, name: str, distance: Tensor, views: Views, by: Sequence[str]) -> dict[str, float]:
        """Return the errors of one map ``(V, h, w)`` against every reference of its views, and those of its parts."""
        depth = distance if self.published_quirks else distance_to_z(distance, views.cameras)
        figures = {}
        resampled: dict[torch.Size, Tensor] = {}
        for reference, field in REFERENCES.items():
            target = getattr(views, field)
            if target is None:
                continue
            size = target.shape[-2:]
            if size not in resampled:
                resampled[size] = resample_depth(depth, *size)
            at_target = resampled[size]
            whole, inner = errors_up_to(at_target, target, (FULL_RANGE, INNER_RANGE))
            if not self._counts(reference, whole, target):
                continue
            for bounds, errors in (('', whole), ('inner', inner)):
                group = key(name, reference, bounds)
                figures |= {key(group, error): value for error, value in errors.items()}
            for kind, part, mask in pixel_masks(by, views, *size, target):
                pair = (torch.masked_select(depth_map, mask) for depth_map in (at_target, target))
                for error, value in depth_errors(*pair, FULL_RANGE).items():
                    figures[part_key(key(name, reference, error), kind, part)] = value
        return figures

    def _holes(self, group: str, opacity: Tensor, views: Views) -> dict[str, float]:
        """Return the shares of holes in a group of views, of opacity ``(V, h, w)``, and those of its parts."""
        if not opacity.isfinite().all():
            self._skip('NaN in the opacity')
            return {}
        figures = {}
        for reference in SHOW_SURFACES:
            target = getattr(views, REFERENCES[reference])
            if target is None:
                continue
            masks = is_hole(opacity, target)
            figures |= {key(group, reference, name): value for name, value in share_of_holes(*masks).items()}
            for kind, part, mask in pixel_masks(self.by, views, *target.shape[-2:], target):
                for name, value in share_of_holes(*masks, mask).items():
                    figures[part_key(key(group, reference, name), kind, part)] = value
        return figures

    def _counts(self, reference: str, errors: Mapping[str, float], target: Tensor) -> bool:
        """Tell whether the errors against a reference count; note why not."""
        if not errors and not target.isfinite().any():
            self._skip(f'no {DEPTH_NAMES[reference]} in the views of a frame')
        elif any(math.isnan(value) for value in errors.values()):
            self._skip('NaN in the predicted depth')
        else:
            return True
        return False

    def merge(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Average over the samples that have the figure."""
        if results and not any(results):
            warn(f'no depth is known in the views of any of the {len(results)} samples: no figures of depth')
        return super().merge(results)
