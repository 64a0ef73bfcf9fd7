"""Blend colors or features, and depth, of the source views with what the voxels render (docs/SUCCESSOR.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.cameras import NEAREST, Cameras
from ..geometry.tensors import full_precision
from .layers import LeakyReLU, leaky_relu_
from .source_views import Sources, SourceSamples, sample_sources

# Opacities count as at least this where their logarithm is taken.
MIN_OPACITY = 0.005
# Logarithms of ratios of distances are clamped to this before the network reads them.
MAX_LOG = 2.0
# The CNN reads this many channels of rendered features.
SUMMARY = 8


@dataclass(frozen=True)
class Blended:
    """The rendering of V views: colors at the size of their images, features at the size of the rendering.

    Attributes:
        values: ``(V, C, H, W)`` RGB, not clamped, or features.
        depth: ``(V, H, W)`` meters along the ray.
        opacity: ``(V, H, W)``.
    """

    values: Tensor
    depth: Tensor
    opacity: Tensor


class SourceBlend(nn.Module):
    """Choose between the source views and the voxels, pixel by pixel, by weights that a small CNN predicts.

    The CNN reads what the voxels render and, for each source, its color, how well its depth agrees, and the angle
    between the rays. A source that does not have the point in its image has weight 0.

    Args:
        count: how many sources at most are looked up for each pixel.
        channels: channels of the CNN's hidden layers.
        past: some sources may be views of the keyframe before; the CNN is told which. What moves is elsewhere there: at
            first, such a source counts only as far as its depth is that of the voxels.
        features: channels of the rendered features, and of the image features from which those of the sources are
            made; ``None`` to render colors.
    """

    def __init__(
        self, count: int = 2, channels: int = 24, past: bool = False, features: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {'count': count, 'channels': channels, **({'past': True} if past else {})}
        self.count, self.past, self.features = count, past, features
        if features is not None:
            self.settings['features'] = list(features)
            rendered, lifted = features
            self.summary = nn.Conv2d(rendered, SUMMARY, 1)
            self.project = nn.Sequential(nn.Conv2d(lifted, rendered, 1), LeakyReLU(), nn.Conv2d(rendered, rendered, 1))
        inputs = 2 + (SUMMARY if features else 3) + (8 + past) * count
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # Logits of values and of depths, of each source and of the voxels, and a correction of colors.
        self.last = nn.Conv2d(channels, 2 * (count + 1) + (0 if features else 3), 1)
        # At first, sources count by how well they agree: one misfit by 10 % or by 0.5 rad costs as much as one logit.
        self.misfit_scale = nn.Parameter(torch.tensor(10.0))
        self.angle_scale = nn.Parameter(torch.tensor(8.0))
        # One logit for a past source whose surface is 10 % from that of the voxels.
        self.past_scale = nn.Parameter(torch.tensor(10.0)) if past else None
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(
        self,
        sources: Sources,
        cameras: Cameras,
        values: Tensor,
        depth: Tensor,
        opacity: Tensor,
        far: float,
        withhold_own: bool | Sequence[bool] = False,
    ) -> Blended:
        """Blend the rendering of ``cameras`` ``(V,)`` with the sources.

        Args:
            sources: the input views; with ``past`` they say which are views of the keyframe before, and with
                ``features`` they have some (:meth:`of_images`).
            cameras: the target cameras, of images of H x W.
            values: what the voxels render: RGB ``(V, 3, H, W)``, or features ``(V, C, h, w)``, which stay of that size.
            depth, opacity: ``(V, h, w)`` of the voxels.
            far: the greatest depth, meters; taken for the depth of all rays if none hits anything.
            withhold_own: take no colors from a source of the same camera and place, only depth; for all views, or
                one for each. Features are taken from all: the network does not get those that it learns from, so
                there is nothing to copy.
        """
        size = (cameras.height, cameras.width) if self.features is None else depth.shape[1:]
        values, depth, opacity = full_precision(values), full_precision(depth), full_precision(opacity)
        depth = fill_transparent(depth.clamp(NEAREST, far), opacity, far)
        guess, opacity = _enlarge(depth, size), _enlarge(opacity, size)
        found = sample_sources(sources, cameras, depth.detach(), guess.detach(), self.count, far)
        distances, inside = found.distances, found.inside
        allowed = self._allowed(sources, cameras, found, withhold_own)
        colors = found.read(sources.images)
        if allowed is not inside:
            colors = colors * allowed[:, :, None]
        hints, prior = self._hints(sources, found, (distances / guess.detach()[:, None]).log(), allowed)
        shown = values if self.features is None else self.summary(values)
        inputs = torch.cat([shown, opacity[:, None], guess.detach().log()[:, None], colors.flatten(1, 2), hints], 1)
        x = leaky_relu_(self.second(leaky_relu_(self.first(inputs))))
        x = full_precision(self.last(x))
        value_logits, depth_logits, correction = x.tensor_split([self.count + 1, 2 * self.count + 2], dim=1)
        value_weights = _weights(value_logits, F.pad(prior, (0, 0, 0, 0, 0, 1)), allowed)
        # What the voxels let through, they know no depth of.
        seen = opacity.clamp_min(MIN_OPACITY).log()[:, None]
        depth_weights = _weights(depth_logits, torch.cat([prior, seen], 1), inside)
        if self.features is not None:
            assert sources.features is not None
            colors = found.read(full_precision(sources.features))
        blended = (value_weights[:, :-1, None] * colors).sum(1) + value_weights[:, -1:] * values
        if self.features is None:
            blended = blended + correction
        logs = (depth_weights[:, :-1] * distances.log()).sum(1) + depth_weights[:, -1] * guess.log()
        filled = depth_weights[:, :-1].sum(1) + depth_weights[:, -1] * opacity
        return Blended(blended, logs.exp(), filled)

    def of_images(self, lifted: Tensor) -> Tensor | None:
        """Make features of the rendered kind ``(S, C, H, W)`` of image features; ``None`` if colors are rendered."""
        return None if self.features is None else full_precision(self.project(lifted))

    def _allowed(
        self, sources: Sources, cameras: Cameras, found: SourceSamples, withhold_own: bool | Sequence[bool]
    ) -> Tensor:
        """Tell which sources may give their values, ``(V, K, H, W)`` bool."""
        withheld = [withhold_own] * len(cameras) if isinstance(withhold_own, bool) else list(withhold_own)
        if self.features is not None or not any(withheld):
            return found.inside
        own = sources.same_cameras(cameras) & torch.tensor(withheld, device=found.inside.device)[:, None]
        return found.inside & ~own.gather(1, found.numbers.flatten(1)).view_as(found.inside)

    def _hints(self, sources: Sources, found: SourceSamples, ratios: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the CNN is told of the sources ``(V, n * K, H, W)``, and their logits before it ``(V, K, H, W)``.

        Args:
            ratios: ``(V, K, H, W)`` logarithm of the distance of the source's surface over that of the voxels.
        """
        ratios = ratios.clamp(-MAX_LOG, MAX_LOG)
        misfit = found.misfit.clamp(-MAX_LOG, MAX_LOG)
        hints = torch.cat([found.inside, allowed, ratios, misfit, found.angles], 1)
        prior = -self.misfit_scale * found.misfit.abs() - self.angle_scale * found.angles
        if self.past_scale is not None:
            assert sources.past is not None
            of_past = found.inside & sources.past[found.numbers]
            hints = torch.cat([hints, of_past], 1)
            prior = prior - self.past_scale * of_past * ratios.abs()
        return hints, prior


def fill_transparent(depth: Tensor, opacity: Tensor, far: float) -> Tensor:
    """Fill in depth ``(V, h, w)``, meters, where rays are transparent, from around: pull, then push.

    Logarithms of depth are averaged by opacity over 2 x 2 pixels, again and again; then each level takes from the
    coarser one the share that its own opacity leaves.

    Args:
        depth: above 0.
        opacity: ``(V, h, w)``.
        far: meters; taken for the depth of images in which all rays are transparent.
    """
    known = opacity.clamp(0, 1)[:, None]
    return _filled(depth.log()[:, None], known, math.log(far)).squeeze(1).exp()


def _filled(values: Tensor, known: Tensor, otherwise: float) -> Tensor:
    """Fill maps ``(V, 1, h, w)`` by the shares ``known`` that are known of each pixel."""
    if not values.numel() or max(values.shape[2:]) == 1:
        return known * values + (1 - known) * otherwise
    sums = F.avg_pool2d(values * known, 2, ceil_mode=True)
    shares = F.avg_pool2d(known, 2, ceil_mode=True)
    coarser = _filled(sums / shares.clamp_min(1e-6), (4 * shares).clamp_max(1), otherwise)
    around = F.interpolate(coarser, size=values.shape[2:], mode='bilinear', align_corners=False)
    return known * values + (1 - known) * around


def _enlarge(values: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge maps ``(V, h, w)``, which span the image from corner to corner, to ``(V, H, W)``."""
    if values.shape[1:] == tuple(size):
        return values
    return F.interpolate(values[:, None], size=size, mode='bilinear', align_corners=True).squeeze(1)


def _weights(logits: Tensor, prior: Tensor, allowed: Tensor) -> Tensor:
    """Return the weights ``(V, count + 1, H, W)``; those of sources that are not allowed are 0."""
    refused = F.pad(~allowed, (0, 0, 0, 0, 0, 1))
    return (logits + prior).masked_fill(refused, -torch.inf).softmax(1)
