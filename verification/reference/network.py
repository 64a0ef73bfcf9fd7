"""The stages computed as the published code does, in plain torch: what the fast ones are measured against.

Points x channels and samples x channels are materialised, cells are found by sorting rows, look-ups by binary search
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
from projects.DistillNeRF.modules.fine_depth import CandidateScorer, FineDepth
from projects.DistillNeRF.modules.kernel_map import OFFSETS
from projects.DistillNeRF.modules.layers import LEAKY_SLOPE, soft_clamp
from projects.DistillNeRF.modules.pooling import candidate_positions
from projects.DistillNeRF.modules.renderer import EMPTY_LOGIT, RaySampling
from projects.DistillNeRF.modules.sparse_conv import SparseConv, SparseProcessing, SparseVoxelNet
from projects.DistillNeRF.modules.voxels import morton_encode

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
        """Index of each cell ``(..., 3)`` by binary search, -1 where it is empty or outside."""
        inside = ((cells >= 0) & (cells < 2**self.level)).all(-1)
        codes = morton_encode(cells.clamp(0, 2**self.level - 1))
        index = torch.searchsorted(self.codes, codes).clamp_max(len(self.codes) - 1)
        return torch.where(inside & (self.codes[index] == codes), index, -1)


def _leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAKY_SLOPE)


def render_bins(net: CoarseDepthNet, features: Tensor, edges: Tensor) -> CoarseDepth:
    """Densities in the depth bins, and volume rendering of them; density ``exp``."""
    density = torch.exp(soft_clamp(net.head(features), net.logit_bound).permute(0, 2, 3, 1) - 1)
    optical = density * (edges[1:] - edges[:-1])
    passing = torch.exp(-torch.cumsum(torch.cat([torch.zeros_like(optical[..., :1]), optical[..., :-1]], -1), -1))
    weights = passing * (1 - torch.exp(-optical))
    depth = (weights * (edges[1:] + edges[:-1]) / 2).sum(-1) / weights.sum(-1).clamp(1e-6, 1)
    return CoarseDepth(depth, weights, features)


def score(scorer: CandidateScorer, features: Tensor, candidates: Tensor) -> Tensor:
    """Three 3-D convolutions over ``(N, C, K, H, W)``; arguments and result as those of the scorer."""
    features = scorer.feature_norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    code = scorer.expand_norm(scorer.expand(candidates[..., None])).permute(0, 4, 3, 1, 2)
    x = features[:, :, None] * code
    for index, conv in enumerate((scorer.conv1, scorer.conv2, scorer.conv3)):
        x = F.conv3d(x, conv.weight[..., None, None], conv.bias, padding=(1, 0, 0))
        if index < 2:
            x = _leaky_relu(F.instance_norm(x, eps=1e-5))
    return x[:, 0].permute(0, 2, 3, 1)


def pool(cameras: Cameras, fine: FineDepth, space: ParameterizedSpace, levels: tuple[int, int]) -> tuple[Level, Level]:
    """Lift every candidate's feature, then average it in the cells of both levels (coarse, fine)."""
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
    cells = torch.floor((2**level * (points + 1) / 2).clamp(0, 2**level - 1)).int()
    cells, of_point, counts = torch.unique(cells, dim=0, return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(cells), features.shape[1], dtype=torch.float64)
    means = (sums.index_add(0, of_point, features.double()) / counts[:, None]).to(features.dtype)
    codes, order = torch.sort(morton_encode(cells))
    return Level(level, codes, cells[order], means[order])


def neighbors(source: Level, target: Level) -> PairsByOffset:
    """Pairs (output, input) per offset, by binary search."""
    jump = source.level - target.level
    pairs = []
    for offset in OFFSETS:
        found = source.find((target.cells << jump) + target.cells.new_tensor(offset))
        outputs = (found >= 0).nonzero().squeeze(1)
        pairs.append((outputs, found[outputs]))
    return pairs


def _convolve(conv: SparseConv, x: Tensor, count: int, pairs: PairsByOffset) -> Tensor:
    y = conv.bias.expand(count, -1)
    for kernel, (outputs, inputs) in zip(conv.weight, pairs, strict=True):
        y = y.index_add(0, outputs, x[inputs] @ kernel)
    return y


def _process(layer: SparseProcessing, x: Tensor, count: int, pairs: PairsByOffset) -> Tensor:
    return layer.norm(_leaky_relu(_convolve(layer.conv, x, count, pairs)))


def all_kernel_maps(coarse: Level, fine: Level) -> tuple[PairsByOffset, PairsByOffset, PairsByOffset]:
    """Within the fine level, within the coarse one, and from fine to coarse."""
    return neighbors(fine, fine), neighbors(coarse, coarse), neighbors(fine, coarse)


def sparse_network(
    net: SparseVoxelNet, coarse: Level, fine: Level, pairs: tuple[PairsByOffset, PairsByOffset, PairsByOffset]
) -> Level:
    """The processed coarse level."""
    within_fine, within_coarse, down = pairs
    coarse_count, fine_count = len(coarse.codes), len(fine.codes)
    x = _leaky_relu(_convolve(net.fine_in, fine.voxels, fine_count, within_fine))
    for layer in net.fine_layers:
        x = _process(layer, x, fine_count, within_fine)
    x = _leaky_relu(_convolve(net.down, x, coarse_count, down))
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
    """Composites ``(rays, C)`` and depths ``(rays,)``; rays in equal chunks, as ``render_ray_batch_num``."""
    size = -(-len(origins) // chunks)
    parts = [
        _render_chunk(levels, space, sampling, o, d)
        for o, d in zip(origins.split(size), directions.split(size), strict=True)
    ]
    composites, depths = zip(*parts, strict=True)
    return torch.cat(composites), torch.cat(depths)


def _render_chunk(
    levels: tuple[Level, Level], space: ParameterizedSpace, sampling: RaySampling, origins: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    edges = space.bin_edges(origins, sampling.stride)
    coarse = ((edges[:-1] + edges[1:]) / 2).expand(len(origins), -1)
    first = _sample(levels, space, sampling, origins, directions, coarse)
    with torch.no_grad():
        weights, _ = _march(first, coarse, sampling)
        center = coarse.gather(1, weights.argmax(1, keepdim=True))
        start = -(sampling.fine_samples // 2)
        steps = torch.arange(start, start + sampling.fine_samples, dtype=coarse.dtype, device=coarse.device)
        fine = (center + sampling.fine_step * steps).clamp(0, space.far)
    second = _sample(levels, space, sampling, origins, directions, fine)
    depths, order = torch.cat([coarse, fine], 1).sort(1)
    samples = torch.cat([first, second], 1)
    samples = samples.gather(1, order[..., None].expand_as(samples))
    weights, colors = _march(samples, depths, sampling)
    middle = (depths[:, 1:] + depths[:, :-1]) / 2
    depth = (weights * middle).sum(1) / (1e-10 + weights.sum(1))
    return 2 * (weights[..., None] * colors).sum(1) - 1, depth.nan_to_num(nan=space.far).clamp(1e-5, space.far)


def _sample(
    levels: tuple[Level, Level],
    space: ParameterizedSpace,
    sampling: RaySampling,
    origins: Tensor,
    directions: Tensor,
    depths: Tensor,
) -> Tensor:
    """``(rays, n, C + 1)`` features of both levels, a zero and the density logit of every sample."""
    points = space.contract(origins[:, None] + depths[..., None] * directions[:, None])
    read = []
    for level in levels:
        index = level.find(torch.floor(2**level.level * (0.5 * points.double() + 0.5)).int())
        voxels = level.voxels[index.clamp_min(0)] * (index > 0)[..., None]
        read.append((voxels, index >= 0))
    (coarse, in_coarse), (fine, in_fine) = read
    empty = coarse.new_full(coarse.shape[:-1], EMPTY_LOGIT)
    logits = torch.where(in_fine, fine[..., -1], torch.where(in_coarse, coarse[..., -1], empty))
    logits = soft_clamp(logits, sampling.logit_bound)[..., None]
    return torch.cat([fine[..., :-1], coarse[..., :-1], torch.zeros_like(logits), logits], -1)


def _march(samples: Tensor, depths: Tensor, sampling: RaySampling) -> tuple[Tensor, Tensor]:
    """Weights ``(rays, n - 1)`` and mean colors ``(rays, n - 1, C)`` of the intervals; density ``exp``."""
    middle = (samples[:, 1:] + samples[:, :-1]) / 2
    alpha = 1 - torch.exp(-torch.exp(middle[..., -1] - 1) * (depths[:, 1:] - depths[:, :-1]))
    keep = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], 1)
    return (alpha + 1e-10) * torch.cumprod(keep, 1)[:, :-1], middle[..., :-1]
