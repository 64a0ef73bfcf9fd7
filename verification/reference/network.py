"""The stages of the network computed as in the published code, in plain torch: the baseline of the benchmark.

Points x channels and samples x channels are materialized, cells are found by sorting rows, look-ups by binary search
(docs/NETWORK.md). The numbers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.modules.coarse_depth import CoarseDepth, CoarseDepthNet
from projects.DistillNeRF.modules.fine_depth import FineDepth, FineDepthNet
from projects.DistillNeRF.modules.kernel_map import OFFSETS
from projects.DistillNeRF.modules.layers import LEAKY_SLOPE, soft_clamp
from projects.DistillNeRF.modules.pooling import candidate_positions
from projects.DistillNeRF.modules.renderer import EMPTY_LOGIT, RaySampling
from projects.DistillNeRF.modules.sparse_conv import SparseConv, SparseProcessing, SparseVoxelNet
from projects.DistillNeRF.modules.voxels import morton_encode
from verification.reference import kernels

# (output, input) cells of each of the 27 offsets.
PairsByOffset = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Level:
    """Occupied cells of one level: ascending codes ``(V,)``, cells ``(V, 3)``, voxels ``(V, C + 1)``, logit last."""

    level: int
    codes: Tensor
    cells: Tensor
    voxels: Tensor

    def find(self, cells: Tensor) -> Tensor:
        """Find the index of each cell ``(..., 3)`` by binary search, -1 where it is empty or outside."""
        inside = ((cells >= 0) & (cells < 2**self.level)).all(-1)
        codes = morton_encode(cells.clamp(0, 2**self.level - 1))
        index = torch.searchsorted(self.codes, codes).clamp_max(len(self.codes) - 1)
        return torch.where(inside & (self.codes[index] == codes), index, -1)


def _leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAKY_SLOPE)


def render_bins(net: CoarseDepthNet, features: Tensor, edges: Tensor) -> CoarseDepth:
    """Predict densities, by ``exp``, in the depth bins, and render the expected depth from them."""
    density = torch.exp(soft_clamp(net.head(features), net.logit_bound).permute(0, 2, 3, 1) - 1)
    weights = kernels.interval_weights(density * (edges[1:] - edges[:-1]))
    depth = (weights * (edges[1:] + edges[:-1]) / 2).sum(-1) / weights.sum(-1).clamp(1e-6, 1)
    return CoarseDepth(depth, weights, features, edges.expand(len(features), -1))


def fine_depth(net: FineDepthNet, images: Tensor, coarse: CoarseDepth) -> FineDepth:
    """Run the fine depth net with literal 3-D convolutions in its scorer."""
    forward, parameters = net.scorer.forward, dict(net.scorer.named_parameters())
    net.scorer.forward = lambda features, candidates: kernels.score_candidates(features, candidates, parameters)
    try:
        return net(images, coarse)
    finally:
        net.scorer.forward = forward


def pool_views(
    cameras: Cameras, fine: FineDepth, space: ParameterizedSpace, levels: tuple[int, int]
) -> tuple[Level, Level]:
    """Lift the features of every candidate, then average them in the cells of both levels (coarse, fine)."""
    positions = candidate_positions(cameras, fine.candidates)
    points = space.contract(positions.reshape(-1, 3))
    lifted = fine.occupancy[..., None] * fine.features.permute(0, 2, 3, 1)[:, :, :, None]
    coarse, finest = lifted.flatten(0, 3).chunk(2, dim=1)
    logits = fine.logits.reshape(-1, 1)
    return tuple(
        _pool_level(points, torch.cat([features, logits], 1), level)
        for features, level in zip((coarse, finest), levels, strict=True)
    )


def _pool_level(points: Tensor, features: Tensor, level: int) -> Level:
    cells, means = kernels.pool(points, features, level)
    codes, order = torch.sort(morton_encode(cells))
    return Level(level, codes, cells[order], means[order])


def kernel_map(source: Level, target: Level) -> PairsByOffset:
    """Find the pairs (output, input) of each offset by binary search."""
    jump = source.level - target.level
    pairs = []
    for offset in OFFSETS:
        inputs = source.find((target.cells << jump) + target.cells.new_tensor(offset))
        outputs = (inputs >= 0).nonzero().squeeze(1)
        pairs.append((outputs, inputs[outputs]))
    return pairs


def _convolve(conv: SparseConv, x: Tensor, count: int, pairs: PairsByOffset) -> Tensor:
    y = conv.bias.expand(count, -1)
    for kernel, (outputs, inputs) in zip(conv.weight, pairs, strict=True):
        y = y.index_add(0, outputs, x[inputs] @ kernel)
    return y


def _process(layer: SparseProcessing, x: Tensor, count: int, pairs: PairsByOffset) -> Tensor:
    return layer.norm(_leaky_relu(_convolve(layer.conv, x, count, pairs)))


def kernel_maps(coarse: Level, fine: Level) -> tuple[PairsByOffset, PairsByOffset, PairsByOffset]:
    """Build the kernel maps within the fine level, within the coarse one, and from fine to coarse."""
    return kernel_map(fine, fine), kernel_map(coarse, coarse), kernel_map(fine, coarse)


def sparse_network(
    net: SparseVoxelNet, coarse: Level, fine: Level, pairs: tuple[PairsByOffset, PairsByOffset, PairsByOffset]
) -> Level:
    """Process the voxels by :class:`SparseVoxelNet`; returns the coarse level."""
    within_fine, within_coarse, fine_to_coarse = pairs
    coarse_count, fine_count = len(coarse.codes), len(fine.codes)
    x = _leaky_relu(_convolve(net.fine_in, fine.voxels, fine_count, within_fine))
    for layer in net.fine_layers:
        x = _process(layer, x, fine_count, within_fine)
    x = _leaky_relu(_convolve(net.down, x, coarse_count, fine_to_coarse))
    y = _leaky_relu(_convolve(net.coarse_in, coarse.voxels, coarse_count, within_coarse))
    x = torch.cat([x, y], dim=1)
    for layer in net.coarse_layers:
        x = _process(layer, x, coarse_count, within_coarse)
    x = _convolve(net.out, x, coarse_count, within_coarse)
    voxels = torch.cat([soft_clamp(x[:, :-1], net.feature_bound), soft_clamp(x[:, -1:], net.logit_bound)], 1)
    return Level(coarse.level, coarse.codes, coarse.cells, voxels)


def render(
    levels: tuple[Level, Level],
    space: ParameterizedSpace,
    sampling: RaySampling,
    origins: Tensor,
    directions: Tensor,
    chunks: int = 16,
) -> tuple[Tensor, Tensor]:
    """Render composites ``(rays, C)`` and depths ``(rays,)``, in equal chunks of rays, as ``render_ray_batch_num``."""
    edges = space.bin_edges(origins, sampling.stride)
    size = -(-len(origins) // chunks)
    parts = [
        kernels.render(
            lambda points: _look_up(levels, space, sampling, points),
            edges,
            *rays,
            space.far,
            sampling.fine_samples,
            sampling.fine_step,
            weigh=_alpha_weights,
        )
        for rays in zip(origins.split(size), directions.split(size), strict=True)
    ]
    composites, depths, _, _ = zip(*parts, strict=True)
    return torch.cat(composites), torch.cat(depths)


def _alpha_weights(logits: Tensor, depths: Tensor) -> Tensor:
    """Compute :func:`kernels.alpha_weights` without its loop over samples, which would be slower than as published."""
    density = torch.exp((logits[:, 1:] + logits[:, :-1]) / 2 - 1)
    alphas = 1 - torch.exp(-density * (depths[:, 1:] - depths[:, :-1]))
    keep = torch.cat([torch.ones_like(alphas[:, :1]), 1 - alphas + 1e-10], 1)
    return (alphas + 1e-10) * torch.cumprod(keep, 1)[:, :-1]


def _look_up(
    levels: tuple[Level, Level], space: ParameterizedSpace, sampling: RaySampling, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Look up features of both levels with a zero, ``(rays, n, C)``, and density logits ``(rays, n)``."""
    points = space.contract(points)
    looked_up = []
    for level in levels:
        index = level.find(torch.floor(2**level.level * (0.5 * points.double() + 0.5)).int())
        voxels = level.voxels[index.clamp_min(0)] * (index > 0)[..., None]
        looked_up.append((voxels, index >= 0))
    (coarse, in_coarse), (fine, in_fine) = looked_up
    empty = coarse.new_full(coarse.shape[:-1], EMPTY_LOGIT)
    logits = torch.where(in_fine, fine[..., -1], torch.where(in_coarse, coarse[..., -1], empty))
    zeros = torch.zeros_like(logits[..., None])
    return torch.cat([fine[..., :-1], coarse[..., :-1], zeros], -1), soft_clamp(logits, sampling.logit_bound)
