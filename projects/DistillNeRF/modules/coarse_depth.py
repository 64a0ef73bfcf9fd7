"""The coarse depth net: images to densities in depth bins (docs/NETWORK.md#coarse-depth; paper section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..geometry.tensors import full_precision
from ..utils.errors import InputError
from .chunked import map_chunked
from .depth_bins import expectation_around, median_bin
from .fpn import FPN
from .layers import Bottleneck, LeakyReLU, enlarge, instance_norm, leaky_relu_, soft_clamp
from .volume_rendering import activate_density, render_intervals

INITIAL_LOGIT = -2.0
DISTRIBUTIONS = ('density', 'softmax')
ESTIMATES = ('median', 'mode')
COLORS = 3


@dataclass(frozen=True)
class CoarseDepth:
    """The output of the coarse depth net for N images of H x W.

    Attributes:
        depth: ``(N, H, W)`` expected distance along the ray, meters.
        weights: ``(N, H, W, D)`` weights of the depth bins: of volume rendering, or a softmax.
        features: ``(N, C, H, W)`` context features, which the fine net reads.
        edges: ``(N, D + 1)`` edges of the depth bins, meters.
    """

    depth: Tensor
    weights: Tensor
    features: Tensor
    edges: Tensor


class DepthFeatureCombiner(nn.Module):
    """Mix frozen-depth features into the features of the pyramid.

    Args:
        channels: channels of the pyramid and of the output.
        depth_channels: channels of the frozen-depth features.
    """

    kernels = 'auto'

    def __init__(self, channels: int, depth_channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            Bottleneck(channels + depth_channels, depth_channels), Bottleneck(depth_channels, depth_channels)
        )
        self.residual = nn.Conv2d(depth_channels, depth_channels, 1)
        self.final = nn.Conv2d(depth_channels, channels, 1)

    def forward(self, features: Tensor, depth_features: Tensor) -> Tensor:
        """Map pyramid features ``(N, C, H, W)`` and frozen-depth features ``(N, C_d, h, w)`` to ``(N, C, H, W)``."""
        depth_features = enlarge(depth_features, features.shape[-2:])
        mixed = self.mix(torch.cat([features, depth_features], dim=1))
        residual = instance_norm(self.residual(mixed), kernels=self.kernels)
        return leaky_relu_(self.final(depth_features + residual))


class CoarseDepthNet(nn.Module):
    """Predict weights of depth bins for every pixel, and the depth from them.

    As published, the bins have densities, and depth is what volume rendering expects: a mean over all bins. With
    ``distribution='softmax'`` the logits are those of a softmax over the bins, and depth is the mean of one bin and its
    neighbors (:func:`.depth_bins.expectation_around`), which does not lie between two surfaces.

    Args:
        num_bins: D, the number of depth bins; :meth:`forward` takes D + 1 edges.
        width: width of the pyramid.
        channels: channels of its output and of the context features.
        blocks: see :class:`FPN`.
        depth_channels: channels of the frozen-depth features, or ``None`` to do without them.
        density_activation: ``exp``, ``softplus`` or ``sigmoid``.
        logit_bound: soft clamp of the logits.
        distribution: ``'density'`` (published) or ``'softmax'``.
        estimate: the bin of a softmax at which depth is: ``'median'`` (:func:`.depth_bins.median_bin`) or ``'mode'``,
            the heaviest.
        window: bins on either side of it that count.
        in_channels: channels of the images. Those after the first three (:func:`.ray_inputs.ray_inputs`) are given to
            the head, too: the norms of the pyramid take away most of what is the same all over an image.

    Raises:
        InputError: an unknown distribution or estimate, or a negative window.
    """

    def __init__(
        self,
        num_bins: int,
        width: int = 64,
        channels: int = 64,
        blocks: Sequence[int] = (2, 3, 5, 5),
        depth_channels: int | None = 128,
        density_activation: str = 'exp',
        logit_bound: float = 30.0,
        distribution: str = 'density',
        estimate: str = 'median',
        window: int = 1,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if distribution not in DISTRIBUTIONS:
            raise InputError(f'distribution is {distribution!r}; give one of {", ".join(DISTRIBUTIONS)}')
        if estimate not in ESTIMATES:
            raise InputError(f'estimate is {estimate!r}; give one of {", ".join(ESTIMATES)}')
        if window < 0:
            raise InputError(f'window is {window}; give 0 or more bins')
        self.pyramid = FPN(width, channels, channels, blocks, in_channels)
        self.combiner = None if depth_channels is None else DepthFeatureCombiner(channels, depth_channels)
        self.head = nn.Sequential(
            nn.Conv2d(channels + in_channels - COLORS, channels, 3, padding=1),
            LeakyReLU(),
            nn.Conv2d(channels, num_bins, 1),
        )
        # Start with thin fog (about 0.05 per meter): light gets 20 m far, and bins at all depths get gradients.
        last = self.head[-1]
        assert isinstance(last.bias, Tensor)
        nn.init.constant_(last.bias, INITIAL_LOGIT)
        self.channels = channels
        self.depth_channels = depth_channels
        self.density_activation = density_activation
        self.logit_bound = logit_bound
        self.distribution = distribution
        self.estimate = estimate
        self.window = window

    def forward(self, images: Tensor, depth_features: Tensor | None, edges: Tensor) -> CoarseDepth:
        """Predict the depth of images.

        Args:
            images: ``(N, in_channels, H, W)``, the first three RGB in [0, 1].
            depth_features: ``(N, C_d, h, w)`` frozen-depth features, if and only if the net was built for them.
            edges: ``(D + 1,)`` edges of the depth bins, meters, or ``(N, D + 1)`` those of each image.
        """
        return self.render(self.features(images, depth_features), edges, images[:, COLORS:])

    def features(self, images: Tensor, depth_features: Tensor | None) -> Tensor:
        """Compute the context features ``(N, C, H, W)``, the first half of :meth:`forward`."""
        if (depth_features is None) != (self.combiner is None):
            raise ValueError(
                'the network was built for frozen depth features, but the views hold none'
                if depth_features is None
                else 'the views hold frozen depth features, but the network was built without them'
            )
        pyramid = self.pyramid(images)
        return pyramid if self.combiner is None else self.combiner(pyramid, depth_features)

    def render(
        self, features: Tensor, edges: Tensor, rays: Tensor | None = None, added: Tensor | None = None
    ) -> CoarseDepth:
        """Predict the depth from context features ``(N, C, H, W)``, the second half of :meth:`forward`.

        Args:
            features: of :meth:`features`.
            edges: ``(D + 1,)`` edges of the depth bins, meters, or ``(N, D + 1)`` those of each image.
            rays: ``(N, in_channels - 3, H, W)`` what the images hold after their colors; ``None`` if that is nothing.
            added: ``(N, D, H, W)`` what is added to the logits of the bins (:class:`.plane_sweep.PlaneSweep`).
        """
        read = features if rays is None or not rays.shape[1] else torch.cat([features, rays.to(features.dtype)], 1)
        logits = self.head(read)
        logits = (logits if added is None else full_precision(logits) + added).permute(0, 2, 3, 1)
        edges_of_images = edges.expand(len(logits), -1)
        if edges.ndim == 1:
            depth, weights = self._depth(logits.flatten(0, 2), edges)
        else:
            images = zip(logits.flatten(1, 2), edges, strict=True)
            depth, weights = map(torch.cat, zip(*(self._depth(*image) for image in images), strict=True))
        return CoarseDepth(depth.view(logits.shape[:3]), weights.view(logits.shape), features, edges_of_images)

    def _depth(self, logits: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth ``(R,)`` and weights ``(R, D)`` of logits ``(R, D)``, of pixels that have the same edges."""

        def render(logits: Tensor) -> tuple[Tensor, Tensor]:
            logits = soft_clamp(full_precision(logits), self.logit_bound)
            if self.distribution == 'softmax':
                weights = logits.softmax(-1)
                with torch.no_grad():
                    center = weights.argmax(-1) if self.estimate == 'mode' else median_bin(weights, edges)
                return expectation_around(weights, edges, center, self.window), weights
            density = activate_density(logits, self.density_activation)
            return render_intervals(density, edges, dim=-1)

        depth, weights = map_chunked(render, logits)
        return depth, weights
