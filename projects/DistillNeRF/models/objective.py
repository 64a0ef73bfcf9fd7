"""Give every configured loss what it is computed on (paper section 3.5; docs/NETWORK.md#losses)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.contraction import ParameterizedSpace
from ..geometry.tensors import without_autocast
from ..geometry.views import Views
from ..losses.depth import clamp_depth, fill_sky, resize_depth
from ..losses.subjects import HINT, NAMES, STAGES, log_order, subject_of
from ..utils.errors import InputError
from .network import Encoded
from .scene import Rendering

DEPTHS = ('lidar_depth', 'teacher_depth')
# Target depths are clamped to at least this, meters, as published.
MIN_TARGET_DEPTH = 1e-5

Losses = Mapping[str, nn.Module]
Named = Iterator[tuple[str, Tensor]]


@dataclass(frozen=True)
class Sample:
    """What the losses of one sample are computed from.

    Attributes:
        encoded: what the network made of the input views.
        rendering: what it renders for the target views.
        inputs, targets: the views.
        iteration: number of the training step.
    """

    encoded: Encoded
    rendering: Rendering
    inputs: Views
    targets: Views
    iteration: int


class Objective(nn.Module):
    """The sum of the configured losses.

    What a loss is computed on is its subject (:mod:`..losses.subjects`).

    Depth images hold z, the network's depths are distances along the ray; targets are converted, unless
    ``published_quirks`` asks for the published comparison of the two as they are (z-as-distance) and for the published
    enlargement of LiDAR depth (bilinear, so that unknown pixels spread; lidar-spread).

    Args:
        losses: name in the config -> loss module.
        space: for the depth at which the sky is put, and the largest depth asked for.
        published_quirks: see above.

    Raises:
        ValueError: a loss that does not say its subject, or whose name cannot be logged.
    """

    def __init__(self, losses: Losses, space: ParameterizedSpace, published_quirks: bool) -> None:
        super().__init__()
        subjects = {name: subject_of(name, losses[name]) for name in sorted(losses, key=log_order)}
        if unknown := sorted(name for name, subject in subjects.items() if subject is None):
            raise ValueError(f'unknown losses {unknown}: use names of {list(NAMES)}, or {HINT}')
        if staged := [name for name in losses if name not in NAMES and name.endswith(STAGES)]:
            raise ValueError(f'names of losses {staged} end in {" or ".join(STAGES)}, like the log: choose others')
        self.losses = nn.ModuleDict(losses)
        self.subjects = subjects
        self.space = space
        self.published_quirks = published_quirks

    def forward(
        self,
        encoded: Sequence[Encoded],
        renderings: Sequence[Rendering],
        inputs: Sequence[Views],
        targets: Sequence[Views],
        iteration: int = 0,
    ) -> dict[str, Tensor]:
        """Return losses ``loss_<name>[_<stage>]``, each the mean over the samples of the batch.

        They are computed without autocast, those of users, too.
        """
        parts = zip(encoded, renderings, inputs, targets, strict=True)
        with without_autocast(inputs[0].images):
            samples = [dict(self._evaluate(Sample(*part, iteration))) for part in parts]
        means = torch.stack([torch.stack(list(losses.values())) for losses in samples]).mean(0)
        return dict(zip(samples[0], means.unbind(), strict=True))

    def _evaluate(self, sample: Sample) -> Named:
        """Yield all losses of one sample, subject after subject in the order of the log."""
        yield from self._images(self._on('image'), sample)
        yield from self._line_of_sight(self._on('line_of_sight'), sample)
        yield from self._features(self._on('features'), sample)
        yield from self._density('teacher_depth', self._on('density'), sample)
        yield from self._density('lidar_depth', self._on('lidar_density'), sample)
        for source in DEPTHS:
            yield from self._depths(source, self._on(source), self._on(f'{source}_edges'), sample)
            yield from self._bins(source, self._on(f'{source.removesuffix("_depth")}_bins'), sample)
        yield from self._weights(self._on('weights'), sample, stages=('_coarse', ''))
        yield from self._weights(self._on('all_weights'), sample, stages=('_coarse', '_fine', ''))

    def _on(self, subject: str) -> dict[str, nn.Module]:
        """Return the losses that are computed on a subject."""
        return {f'loss_{name}': self.losses[name] for name, own in self.subjects.items() if own == subject}

    def _images(self, losses: Losses, sample: Sample) -> Named:
        for name, loss in losses.items():
            yield name, loss(rendered(name, sample.rendering.rgb, 'images'), sample.targets.images)

    def _features(self, losses: Losses, sample: Sample) -> Named:
        """Take the mean over the pixels whose features are known; the others compare the estimate with itself."""
        for name, loss in losses.items():
            estimate = rendered(name, sample.rendering.features, 'features')
            target = feature_target(sample.targets, estimate)
            known = target.isfinite().all(dim=1, keepdim=True)
            value = loss(estimate, torch.where(known, target, estimate.detach()))
            yield name, value * (known.numel() / known.sum().clamp_min(1))

    def _weights(self, losses: Losses, sample: Sample, stages: Sequence[str]) -> Named:
        weights = {
            '_coarse': sample.encoded.coarse.weights,
            '_fine': sample.encoded.fine.weights,
            '': sample.rendering.weights,
        }
        for name, loss in losses.items():
            for stage in stages:
                known = weights[stage]
                assert known is not None
                yield f'{name}{stage}', loss(known.movedim(-1, 1))

    def _depths(self, source: str, losses: Losses, edge_losses: Losses, sample: Sample) -> Named:
        """Compare coarse depth of the input views and rendered depth of the target views with one source of depth.

        Where source views are blended in, the depth of the voxels alone is compared, too.
        """
        if not losses and not edge_losses:
            return
        coarse, rendering = sample.encoded.coarse.depth, sample.rendering
        stages = [('_coarse', coarse, sample.inputs), ('', rendering.depth, sample.targets)]
        if rendering.voxel_depth is not None:
            stages.append(('_voxels', rendering.voxel_depth, sample.targets))
        for stage, depth, views in stages:
            target = self.depth_target(source, views, depth.shape[-2:])
            for name, loss in losses.items():
                yield f'{name}{stage}', loss(depth, target)
            for name, loss in edge_losses.items():
                yield f'{name}{stage}', loss(depth, target, sample.iteration)

    def _bins(self, source: str, losses: Losses, sample: Sample) -> Named:
        """Compare the weights of the coarse depth bins of the input views with one source of depth, not resized."""
        for name, loss in losses.items():
            target = self.depth_target(source, sample.inputs, stored_depth(source, sample.inputs).shape[-2:])
            coarse = sample.encoded.coarse
            yield f'{name}_coarse', loss(coarse.weights.movedim(-1, 1), coarse.edges, target)

    def depth_target(self, name: str, views: Views, size: Sequence[int]) -> Tensor:
        """Return ``(V, h, w)`` depth of size ``size`` to compare with, NaN where unknown.

        Args:
            name: one of :data:`DEPTHS`.

        Raises:
            InputError: the views hold no such depth.
        """
        depth, lidar = self._known_depth(name, views, size), name == 'lidar_depth'
        if views.sky_mask is not None:
            depth = fill_sky(depth, views.sky_mask, self.space.far, only_unknown=lidar)
        return clamp_depth(depth, MIN_TARGET_DEPTH, self.space.far)

    def _known_depth(self, name: str, views: Views, size: Sequence[int]) -> Tensor:
        """Return depth to compare with the network's, ``(V, h, w)``; NaN where it is unknown and in the sky."""
        nearest = name == 'lidar_depth' and not self.published_quirks
        depth = resize_depth(stored_depth(name, views), size, nearest)
        return depth if self.published_quirks else depth * views.cameras.ray_lengths(*size)

    def _density(self, source: str, losses: Losses, sample: Sample) -> Named:
        """Query the voxel field at the depth that a source knows, or just behind it, and at random points before it.

        In the sky these are points before its end. Where LiDAR has a return, there is no sky.
        """
        targets, rendering, lidar = sample.targets, sample.rendering, source == 'lidar_depth'
        size = (rendering.depth if rendering.voxel_depth is None else rendering.voxel_depth).shape[-2:]
        for name, loss in losses.items():
            depth = resize_depth(stored_depth(source, targets), size, nearest=True)
            surface = depth * targets.cameras.ray_lengths(*size)
            end = surface
            if targets.sky_mask is not None:
                end = fill_sky(surface, targets.sky_mask, self.space.far, only_unknown=lidar)
                surface = fill_sky(surface, targets.sky_mask, math.nan, only_unknown=lidar)
            if behind := getattr(loss, 'behind', 0.0):
                surface = surface + behind * torch.rand_like(surface)
            free = torch.rand_like(end) * (end - getattr(loss, 'margin', 0.0)).clamp_min(0)
            free, surface = (density_at(distance, sample) for distance in (free, surface))
            yield name, loss(free, surface)

    def _line_of_sight(self, losses: Losses, sample: Sample) -> Named:
        coarse, rendering = sample.encoded.coarse.weights, sample.rendering
        for name, loss in losses.items():
            assert rendering.weights is not None and rendering.depths is not None
            edges = sample.encoded.coarse.edges[:, None, None].expand(*coarse.shape[:-1], -1)
            stages = {
                '_coarse': (coarse, edges, sample.inputs),
                '': (rendering.weights, rendering.depths, sample.targets),
            }
            for stage, (weights, depths, views) in stages.items():
                middle = (depths[..., 1:] + depths[..., :-1]) / 2
                known = self._known_depth('lidar_depth', views, weights.shape[1:3])
                value = loss(weights.movedim(-1, 1), middle.movedim(-1, 1), known, sample.iteration)
                yield f'{name}{stage}', value


def rendered(name: str, rendering: Tensor | None, what: str) -> Tensor:
    """Return what the loss ``name`` compares.

    Raises:
        InputError: the network does not render it.
    """
    if rendering is None:
        loss = name.removeprefix('loss_')
        raise InputError(
            f'the loss {loss} compares {what}, which the network does not render; set model.losses.{loss}=None'
        )
    return rendering


def density_at(distance: Tensor, sample: Sample) -> Tensor:
    """Return densities per meter ``(P,)`` of the voxel field on the rays of the target views.

    Args:
        distance: ``(V, h, w)`` meters along the rays; those that are not finite are left out.
    """
    origins, directions = sample.targets.cameras.rays(*distance.shape[-2:])
    points = origins[:, None, None] + distance[..., None] * directions
    return sample.encoded.scene.query(points[distance.isfinite()])[0]


def stored_depth(name: str, views: Views) -> Tensor:
    """Return the depth images of that name, z.

    Raises:
        InputError: the views hold none.
    """
    depth = getattr(views, name)
    if depth is None:
        option = f'load_{name.removesuffix("_depth")}'
        raise InputError(f'a loss needs {name} that the dataset does not load; set its {option}=True')
    return depth


@torch.no_grad()
def relative_depth_errors(renderings: Sequence[Rendering], targets: Sequence[Views]) -> dict[str, Tensor]:
    """Return ``{'lidar/abs_rel': mean}`` of |rendered - known| / known, all distances along the ray, for the log.

    Each sample is a mean over the pixels that LiDAR knows. Where the views hold no LiDAR the teacher takes its place:
    ``teacher/abs_rel``. Samples in which nothing is known do not count; without any other the result is empty.
    """
    errors: dict[str, list[Tensor]] = {}
    for rendering, views in zip(renderings, targets, strict=True):
        name = next((name for name in DEPTHS if getattr(views, name) is not None), None)
        if name is None:
            continue
        size = rendering.depth.shape[-2:]
        known = resize_depth(stored_depth(name, views), size, nearest=True) * views.cameras.ray_lengths(*size)
        relative = ((rendering.depth - known).abs() / known)[known > 0]
        if len(relative):
            errors.setdefault(f'{name.removesuffix("_depth")}/abs_rel', []).append(relative.mean())
    return {name: torch.stack(values).mean().float() for name, values in errors.items()}


def feature_target(views: Views, like: Tensor) -> Tensor:
    """Return teacher features ``(V, C, h, w)``, resized bilinearly to the size of ``like``; NaN where unknown.

    Args:
        views: the target views.
        like: rendered features.

    Raises:
        InputError: the views hold none.
    """
    if views.features is None:
        raise InputError('the loss features needs features that the dataset does not load; set its load_features=True')
    found, wanted = views.features.shape[1], like.shape[1]
    # Where the features of all views are missing, one unknown pixel stands for them.
    if found != wanted and tuple(views.features.shape[1:]) != (1, 1, 1):
        raise InputError(
            f'the features that the dataset loads have {found} channels, the network renders {wanted}: extract them '
            f'again with so many, or set model.network.head.out_channels={found}'
        )
    if views.features.shape[-2:] == like.shape[-2:]:
        return views.features
    return F.interpolate(views.features, size=like.shape[-2:], mode='bilinear', align_corners=False)
