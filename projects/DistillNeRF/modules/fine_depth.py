"""The fine depth net: candidates around the coarse depth, their densities, and the features to be lifted.

See docs/NETWORK.md#fine-depth; paper section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.tensors import clamp, full_precision
from .chunked import Recomputable
from .coarse_depth import CoarseDepth
from .fpn import FPN
from .layers import LEAKY_SLOPE, LeakyInstanceNorm, LeakyReLU, instance_norm, soft_clamp
from .volume_rendering import activate_density, render_intervals


@dataclass(frozen=True)
class FineDepth:
    """The output of the fine depth net for N images of H x W, with K candidates per pixel.

    The lifted feature of a candidate is ``occupancy * features`` of its pixel; it is never stored as a tensor of
    its own.

    Attributes:
        depth: ``(N, H, W)`` expected distance along the ray, meters.
        weights: ``(N, H, W, K - 1)`` volume rendering weights between neighboring candidates.
        candidates: ``(N, H, W, K)`` distances along the ray, meters, ascending.
        occupancy: ``(N, H, W, K)`` in (0, 1).
        logits: ``(N, H, W, K)`` density logits.
        features: ``(N, C, H, W)`` image features, which are lifted.
    """

    depth: Tensor
    weights: Tensor
    candidates: Tensor
    occupancy: Tensor
    logits: Tensor
    features: Tensor


class CandidateScorer(Recomputable):
    """Score every depth candidate of every pixel from the pixel's depth features and the candidate's distance.

    As published, the candidate's code is ``LN(linear(d))``, it is multiplied with the pixel's depth features, and three
    convolutions over neighboring candidates follow. A layer norm of an affine function of the scalar d has rank 3 in
    (d / sigma, 1 / sigma, 1), so the product and the first convolution are one small matrix product per pixel and
    the tensor of pixels x candidates x channels is never made.

    Args:
        channels: channels of the pixel's depth features and of the code.
        hidden: channels of the convolutions over candidates.
    """

    kernels = 'auto'

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.expand = nn.Linear(1, channels)
        self.expand_norm = nn.LayerNorm(channels)
        self.feature_norm = nn.LayerNorm(channels)
        self.conv1 = nn.Conv1d(channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.conv3 = nn.Conv1d(hidden, 1, 3, padding=1)

    def forward(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Score candidates ``(N, H, W, K)`` by depth features ``(N, C, H, W)``; returns ``(N, H, W, K)``."""
        n, height, width, count = candidates.shape
        features = self.feature_norm(features.permute(0, 2, 3, 1))
        y = self._first_convolution(features, candidates)
        # Channels last with one row per candidate: the kernels reach over neighboring rows, and the long dimension
        # of pixels is the inner one.
        y = y.view(n, height * width, count, -1).transpose(1, 2).contiguous().permute(0, 3, 1, 2)
        y = instance_norm(y, LEAKY_SLOPE, self.kernels)
        y = instance_norm(self._over_candidates(self.conv2, y), LEAKY_SLOPE, self.kernels)
        y = self._over_candidates(self.conv3, y)
        return y.view(n, count, height, width).permute(0, 2, 3, 1).contiguous()

    @staticmethod
    def _over_candidates(conv: nn.Conv1d, x: Tensor) -> Tensor:
        return F.conv2d(x, conv.weight[..., None], conv.bias, padding=(1, 0))

    def _first_convolution(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` and ``(N, H, W, K)`` to ``(N * H * W, K, hidden)``, bias included."""
        slope = self.expand.weight[:, 0] - self.expand.weight.mean()
        offset = self.expand.bias - self.expand.bias.mean()
        d = full_precision(candidates)
        variance = slope.square().mean() * d * d + 2 * (slope * offset).mean() * d + offset.square().mean()
        inverse_sigma = torch.rsqrt(variance.clamp_min(0) + self.expand_norm.eps)
        code = torch.stack([d * inverse_sigma, inverse_sigma, torch.ones_like(d)], dim=-1)
        # Neighbors -1, 0, 1 of every candidate, zero outside: (N, H, W, K, 3 parts, 3 neighbors).
        code = F.pad(code, (0, 0, 1, 1)).unfold(-2, 3, 1)
        gain = self.expand_norm.weight
        parts = torch.stack([slope * gain, offset * gain, self.expand_norm.bias])
        # weight (hidden, C, 3 neighbors) x parts (3, C) -> (C, 3 parts, 3 neighbors, hidden)
        kernels = torch.einsum('oct,pc->cpto', self.conv1.weight, parts)
        projected = (features @ kernels.flatten(1)).view(-1, 9, self.conv1.out_channels)
        pixels = code.reshape(-1, code.shape[3], 9).to(projected.dtype)
        assert self.conv1.bias is not None
        return torch.baddbmm(self.conv1.bias, pixels, projected)


class FineDepthNet(nn.Module):
    """Predict depth candidates, their densities, and the image features that are lifted.

    Args:
        channels: C, channels of the image features.
        context_channels: channels of the coarse net's context features.
        width: width of the pyramid, and channels of the heads' hidden layers.
        hidden: channels of the combiner.
        blocks: see :class:`FPN`.
        num_candidates: K, the number of candidates per pixel.
        first_candidate: the first of the K consecutive steps; ``None`` centers them. The published ones are -8 ... 6
            (off-center-candidates in docs/NETWORK.md#oddities-of-the-published-code).
        candidate_ratio, candidate_step: distance between candidates, ``clamp(ratio * depth, *step)`` meters.
        density_activation: ``exp``, ``softplus`` or ``sigmoid``.
        feature_bound, logit_bound: soft clamp of the image features; density logits lie in +- logit_bound.
        in_channels: channels of the images.
    """

    def __init__(
        self,
        channels: int = 64,
        context_channels: int = 64,
        width: int = 16,
        hidden: int = 32,
        blocks: Sequence[int] = (2, 3, 5, 5),
        num_candidates: int = 15,
        first_candidate: int | None = None,
        candidate_ratio: float = 0.025,
        candidate_step: tuple[float, float] = (0.05, 0.3),
        density_activation: str = 'exp',
        feature_bound: float = 5.0,
        logit_bound: float = 30.0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.pyramid = FPN(width, width, width, blocks, in_channels)
        self.combiner = nn.Sequential(
            nn.Conv2d(width + context_channels, hidden, 3, padding=1),
            LeakyInstanceNorm(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            LeakyInstanceNorm(),
        )
        self.feature_head = nn.Sequential(
            nn.Conv2d(hidden, width, 3, padding=1), LeakyReLU(), nn.Conv2d(width, channels, 1)
        )
        self.depth_head = nn.Sequential(
            nn.Conv2d(hidden, width, 3, padding=1), LeakyReLU(), nn.Conv2d(width, channels + 1, 1)
        )
        self.scorer = CandidateScorer(channels + 1, width)
        self.num_candidates = num_candidates
        self.first_candidate = -(num_candidates // 2) if first_candidate is None else first_candidate
        self.candidate_ratio = candidate_ratio
        self.candidate_step = candidate_step
        self.density_activation = density_activation
        self.feature_bound = feature_bound
        self.logit_bound = logit_bound

    def forward(self, images: Tensor, coarse: CoarseDepth) -> FineDepth:
        """Predict from images ``(N, in_channels, H, W)`` and their coarse depth."""
        candidates = self.candidates(full_precision(coarse.depth))
        hidden = self.combiner(torch.cat([self.pyramid(images), coarse.features], dim=1))
        features = soft_clamp(self.feature_head(hidden), self.feature_bound)
        occupancy = torch.sigmoid(full_precision(self.scorer(self.depth_head(hidden), candidates)))
        logits = (2 * occupancy - 1) * self.logit_bound
        density = activate_density((logits[..., 1:] + logits[..., :-1]) / 2, self.density_activation)
        depth, weights = render_intervals(density, candidates, dim=-1)
        return FineDepth(depth, weights, candidates, occupancy, logits, features)

    def candidates(self, depth: Tensor) -> Tensor:
        """Place candidates ``(N, H, W, K)`` around coarse distances ``(N, H, W)``, meters, which get gradients."""
        last = self.first_candidate + self.num_candidates
        steps = torch.arange(self.first_candidate, last, dtype=depth.dtype, device=depth.device)
        spacing = clamp(self.candidate_ratio * depth, *self.candidate_step)
        return F.relu(depth[..., None] + steps * spacing[..., None])
