"""Blend colors and depth of the source views with what the voxels render (docs/SUCCESSOR.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.cameras import NEAREST, Cameras
from ..geometry.tensors import full_precision
from .layers import leaky_relu_
from .source_views import Sources, sample_sources

# Opacities count as at least this where their logarithm is taken.
MIN_OPACITY = 0.005
# Logarithms of ratios of distances are clamped to this before the network reads them.
MAX_LOG = 2.0


@dataclass(frozen=True)
class Blended:
    """The rendering of V views at the size of their images.

    Attributes:
        rgb: ``(V, 3, H, W)``, not clamped.
        depth: ``(V, H, W)`` meters along the ray.
        opacity: ``(V, H, W)``.
    """

    rgb: Tensor
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
    """

    def __init__(self, count: int = 2, channels: int = 24, past: bool = False) -> None:
        super().__init__()
        self.settings = {'count': count, 'channels': channels, **({'past': True} if past else {})}
        self.count, self.past = count, past
        self.first = nn.Conv2d(5 + (8 + past) * count, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # Logits of colors and of depths, of each source and of the voxels, and a correction of the color.
        self.last = nn.Conv2d(channels, 2 * (count + 1) + 3, 1)
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
        rgb: Tensor,
        depth: Tensor,
        opacity: Tensor,
        far: float,
        withhold_own: bool | Sequence[bool] = False,
    ) -> Blended:
        """Blend the rendering of ``cameras`` ``(V,)`` with the sources.

        Args:
            sources: the input views; with ``past`` they say which are views of the keyframe before.
            cameras: the target cameras, of images of H x W.
            rgb: ``(V, 3, H, W)`` what the voxels render.
            depth, opacity: ``(V, h, w)`` of the voxels.
            far: the greatest depth, meters; taken for the depth of all rays if none hits anything.
            withhold_own: take no colors from a source of the same camera and place, only depth; for all views, or
                one for each.
        """
        size = (cameras.height, cameras.width)
        rgb, depth, opacity = full_precision(rgb), full_precision(depth), full_precision(opacity)
        depth = fill_transparent(depth.clamp(NEAREST, far), opacity, far)
        guess, opacity = _enlarge(depth, size), _enlarge(opacity, size)
        found = sample_sources(sources, cameras, depth.detach(), guess.detach(), self.count, far)
        colors, distances, misfit, angles = found.colors, found.distances, found.misfit, found.angles
        inside = allowed = found.inside
        withheld = [withhold_own] * len(cameras) if isinstance(withhold_own, bool) else list(withhold_own)
        if any(withheld):
            own = sources.same_cameras(cameras) & torch.tensor(withheld, device=depth.device)[:, None]
            allowed = inside & ~own.gather(1, found.numbers.flatten(1)).view_as(inside)
            colors = colors * allowed[:, :, None]
        ratios = (distances / guess.detach()[:, None]).log().clamp(-MAX_LOG, MAX_LOG)
        hints = torch.cat([inside, allowed, ratios, misfit.clamp(-MAX_LOG, MAX_LOG), angles], 1)
        prior = -self.misfit_scale * misfit.abs() - self.angle_scale * angles
        if self.past_scale is not None:
            assert sources.past is not None
            of_past = inside & sources.past[found.numbers]
            hints = torch.cat([hints, of_past], 1)
            prior = prior - self.past_scale * of_past * ratios.abs()
        inputs = torch.cat([rgb, opacity[:, None], guess.detach().log()[:, None], colors.flatten(1, 2), hints], 1)
        x = leaky_relu_(self.second(leaky_relu_(self.first(inputs))))
        x = full_precision(self.last(x))
        color_logits, depth_logits, correction = x.split([self.count + 1, self.count + 1, 3], dim=1)
        color_weights = _weights(color_logits, F.pad(prior, (0, 0, 0, 0, 0, 1)), allowed)
        # What the voxels let through, they know no depth of.
        seen = opacity.clamp_min(MIN_OPACITY).log()[:, None]
        depth_weights = _weights(depth_logits, torch.cat([prior, seen], 1), inside)
        blended = (color_weights[:, :-1, None] * colors).sum(1) + color_weights[:, -1:] * rgb + correction
        logs = (depth_weights[:, :-1] * distances.log()).sum(1) + depth_weights[:, -1] * guess.log()
        filled = depth_weights[:, :-1].sum(1) + depth_weights[:, -1] * opacity
        return Blended(blended, logs.exp(), filled)


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


def _enlarge(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge maps ``(V, h, w)``, which span the image from corner to corner, to ``(V, H, W)``."""
    if values.shape[1:] == size:
        return values
    return F.interpolate(values[:, None], size=size, mode='bilinear', align_corners=True).squeeze(1)


def _weights(logits: Tensor, prior: Tensor, allowed: Tensor) -> Tensor:
    """Return the weights ``(V, count + 1, H, W)``; those of sources that are not allowed are 0."""
    refused = F.pad(~allowed, (0, 0, 0, 0, 0, 1))
    return (logits + prior).masked_fill(refused, -torch.inf).softmax(1)
