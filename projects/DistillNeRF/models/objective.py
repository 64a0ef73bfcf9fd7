"""What the network is trained for: which loss compares what with what (paper section 3.5; docs/NETWORK.md#losses)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.contraction import ParameterizedSpace
from ..geometry.views import Views
from ..losses.depth import clamp_depth, fill_sky
from ..utils.errors import InputError
from .network import Encoded
from .scene import Rendering

# What each loss of a config is computed on.
IMAGE_LOSSES = ('rgb', 'lpips', 'dssim')
DEPTHS = ('lidar_depth', 'teacher_depth')
EDGES = '_edges'
LOSS_NAMES = (
    *IMAGE_LOSSES,
    'features',
    *DEPTHS,
    *(name + EDGES for name in DEPTHS),
    'line_of_sight',
    'density',
    'weight_entropy',
    'opacity',
)
MIN_DEPTH = 1e-5


class Objective(nn.Module):
    """The sum of the configured losses.

    * ``rgb``, ``lpips``, ``dssim``: rendered image against target image.
    * ``features``: rendered features against those of the targets where they are known; a mean over pixels.
    * ``lidar_depth``, ``teacher_depth``: coarse depth of the input views and rendered depth of the target views.
    * ``lidar_depth_edges``, ``teacher_depth_edges``: the same where the estimated depth has edges.
    * ``density``: the voxel field on the rays of the target views, against the teacher's depth.
    * ``line_of_sight``: coarse and rendered weights against LiDAR, from the iteration of its schedule on.
    * ``weight_entropy``: coarse and rendered weights. ``opacity``: coarse, fine and rendered weights.

    Depth images hold z, the network's depths are distances along the ray; targets are converted, unless
    ``published_quirks`` asks for the published comparison of the two as they are (z-as-distance) and for the published
    enlargement of LiDAR depth (bilinear, so that unknown pixels spread; lidar-spread).

    Args:
        losses: name (see :data:`LOSS_NAMES`) -> loss module.
        space: for the depth at which the sky is put, and the largest depth asked for.
        published_quirks: see above.
    """

    def __init__(self, losses: Mapping[str, nn.Module], space: ParameterizedSpace, published_quirks: bool) -> None:
        super().__init__()
        unknown = sorted(set(losses) - set(LOSS_NAMES))
        if unknown:
            raise ValueError(f'unknown losses {unknown}: use some of {list(LOSS_NAMES)}')
        self.losses = nn.ModuleDict(losses)
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
        """Losses ``loss_<name>[_<stage>]``, each the mean over the samples of the batch."""
        samples = [self._sample(*parts, iteration) for parts in zip(encoded, renderings, inputs, targets, strict=True)]
        return {name: torch.stack([losses[name] for losses in samples]).mean() for name in samples[0]}

    def _sample(
        self, encoded: Encoded, rendering: Rendering, inputs: Views, targets: Views, iteration: int
    ) -> dict[str, Tensor]:
        results = {
            f'loss_{name}': self.losses[name](rendering.rgb, targets.images)
            for name in IMAGE_LOSSES
            if name in self.losses
        }
        if 'line_of_sight' in self.losses:
            results |= self._line_of_sight(encoded, rendering, inputs, targets, iteration)
        if 'features' in self.losses:
            results['loss_features'] = self._features(rendering.features, targets)
        if 'density' in self.losses:
            results['loss_density'] = self._density(encoded, rendering, targets)
        results |= self._depths(encoded, rendering, inputs, targets, iteration)
        stages = {'_coarse': encoded.coarse.weights, '_fine': encoded.fine.weights, '': rendering.weights}
        for name, used in (('weight_entropy', ('_coarse', '')), ('opacity', ('_coarse', '_fine', ''))):
            if name in self.losses:
                for stage in used:
                    results[f'loss_{name}{stage}'] = self.losses[name](stages[stage].movedim(-1, 1))
        return results

    def _features(self, rendered: Tensor, targets: Views) -> Tensor:
        """The mean over the pixels whose features are known; the others compare the estimate with itself."""
        target = feature_target(targets, rendered)
        known = target.isfinite().all(dim=1, keepdim=True)
        loss = self.losses['features'](rendered, torch.where(known, target, rendered.detach()))
        return loss * (known.numel() / known.sum().clamp_min(1))

    def _depths(
        self, encoded: Encoded, rendering: Rendering, inputs: Views, targets: Views, iteration: int
    ) -> dict[str, Tensor]:
        results = {}
        for name in DEPTHS:
            if name not in self.losses and name + EDGES not in self.losses:
                continue
            for stage, depth, views in (('_coarse', encoded.coarse.depth, inputs), ('', rendering.depth, targets)):
                target = self.depth_target(name, views, depth.shape[-2:])
                if name in self.losses:
                    results[f'loss_{name}{stage}'] = self.losses[name](depth, target)
                if name + EDGES in self.losses:
                    results[f'loss_{name}{EDGES}{stage}'] = self.losses[name + EDGES](depth, target, iteration)
        return results

    def depth_target(self, name: str, views: Views, size: tuple[int, int]) -> Tensor:
        """``(V, h, w)`` depth of size ``size`` to compare with, NaN where unknown.

        Raises:
            InputError: the views hold no such depth.
        """
        depth, lidar = self._known_depth(name, views, size), name == 'lidar_depth'
        if views.sky_mask is not None:
            depth = fill_sky(depth, views.sky_mask, self.space.far, only_unknown=lidar)
        return clamp_depth(depth, MIN_DEPTH, self.space.far)

    def _known_depth(self, name: str, views: Views, size: tuple[int, int]) -> Tensor:
        """Depth to compare with the network's, ``(V, h, w)``; NaN where it is unknown and in the sky."""
        nearest = name == 'lidar_depth' and not self.published_quirks
        depth = resize_depth(stored_depth(name, views), size, nearest)
        return depth if self.published_quirks else depth * views.cameras.ray_lengths(*size)

    def _density(self, encoded: Encoded, rendering: Rendering, targets: Views) -> Tensor:
        """Random points before the teacher's depth (in the sky: before its end), and points at it."""
        loss, size = self.losses['density'], rendering.depth.shape[-2:]
        depth = resize_depth(stored_depth('teacher_depth', targets), size, nearest=True)
        surface = depth * targets.cameras.ray_lengths(*size)
        end = surface
        if targets.sky_mask is not None:
            end = fill_sky(surface, targets.sky_mask, self.space.far, only_unknown=False)
            surface = fill_sky(surface, targets.sky_mask, math.nan, only_unknown=False)
        free = torch.rand_like(end) * (end - loss.margin).clamp_min(0)
        origins, directions = targets.cameras.rays(*size)

        def density(distance: Tensor) -> Tensor:
            points = origins[:, None, None] + distance[..., None] * directions
            return encoded.scene.query(points[distance.isfinite()])[0]

        return loss(density(free), density(surface))

    def _line_of_sight(
        self, encoded: Encoded, rendering: Rendering, inputs: Views, targets: Views, iteration: int
    ) -> dict[str, Tensor]:
        coarse = encoded.coarse.weights
        edges = self.space.bin_edges(coarse).expand(*coarse.shape[:-1], -1)
        stages = {
            '_coarse': (coarse, edges, inputs),
            '': (rendering.weights, rendering.depths, targets),
        }
        results = {}
        for stage, (weights, depths, views) in stages.items():
            middle = (depths[..., 1:] + depths[..., :-1]) / 2
            known = self._known_depth('lidar_depth', views, weights.shape[1:3])
            loss = self.losses['line_of_sight'](weights.movedim(-1, 1), middle.movedim(-1, 1), known, iteration)
            results[f'loss_line_of_sight{stage}'] = loss
        return results


def stored_depth(name: str, views: Views) -> Tensor:
    """The depth images of that name, z.

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
    """``(V, C, h, w)`` features of the views, resized bilinearly to the size of ``like``; NaN where unknown.

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


def resize_depth(depth: Tensor, size: tuple[int, int], nearest: bool) -> Tensor:
    """Depth ``(V, h, w)`` -> ``(V, *size)``, bilinear (unknown pixels spread) or nearest."""
    if tuple(depth.shape[-2:]) == tuple(size):
        return depth
    mode = {'mode': 'nearest'} if nearest else {'mode': 'bilinear', 'align_corners': False}
    return F.interpolate(depth[:, None], size=tuple(size), **mode)[:, 0]
