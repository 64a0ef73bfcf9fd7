"""Slow and obvious versions of the fast kernels, written from docs/NETWORK.md: loops, dictionaries, dense tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

Cell = tuple[int, int, int]


def morton(cell: Cell) -> int:
    """Morton code of a cell, x most significant (docs/NETWORK.md#pooling)."""
    x, y, z = cell
    return sum((z >> i & 1) << 3 * i | (y >> i & 1) << 3 * i + 1 | (x >> i & 1) << 3 * i + 2 for i in range(10))


def insertion_cells(points: Tensor, level: int) -> list[Cell]:
    """Cell of each point ``(P, 3)`` of the cube, clamped to the border (docs/NETWORK.md#pooling)."""
    side = 2**level
    return [tuple(int(v) for v in row) for row in torch.floor((side * (points + 1) / 2).clamp(0, side - 1)).tolist()]


def query_cell(point: Iterable[float], level: int) -> Cell:
    """Cell in which a point is looked up, in double precision; it may lie outside the grid."""
    return tuple(math.floor(2**level * (0.5 * s + 0.5)) for s in point)


def number(cells: Iterable[Cell]) -> dict[Cell, int]:
    """Each distinct cell with its index in Morton order."""
    return {cell: index for index, cell in enumerate(sorted(set(cells), key=morton))}


def pool(points: Tensor, features: Tensor, level: int) -> tuple[dict[Cell, int], Tensor]:
    """Numbered cells and ``(cells, C)`` means of the points' features ``(P, C)``."""
    of_point = insertion_cells(points, level)
    cells = number(of_point)
    members: list[list[int]] = [[] for _ in cells]
    for point, cell in enumerate(of_point):
        members[cells[cell]].append(point)
    return cells, torch.stack([features[chosen].mean(0) for chosen in members])


def lift(features: Tensor, occupancy: Tensor, logits: Tensor) -> Tensor:
    """``(N, C, H, W)``, ``(N, H, W, K)`` twice -> lifted features ``(N * H * W * K, C + 1)``."""
    product = occupancy[..., None] * features.permute(0, 2, 3, 1)[:, :, :, None]
    return torch.cat([product, logits[..., None]], -1).flatten(0, 3)


def sparse_conv(
    x: Tensor, inputs: dict[Cell, int], outputs: dict[Cell, int], weight: Tensor, bias: Tensor, jump: int
) -> Tensor:
    """``y[P] = bias + sum over k of x[2^jump * P + K_k] @ weight[k]`` (docs/NETWORK.md#sparse-convolution)."""
    rows = []
    for cell in outputs:
        y = bias
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                for k in (-1, 0, 1):
                    source = inputs.get(tuple((c << jump) + o for c, o in zip(cell, (i, j, k), strict=True)))
                    if source is not None:
                        y = y + x[source] @ weight[9 * (i + 1) + 3 * (j + 1) + (k + 1)]
        rows.append(y)
    return torch.stack(rows) if rows else x.new_zeros(0, weight.shape[2])


def interval_weights(optical_depth: Tensor) -> Tensor:
    """Weights of intervals along the last dimension (docs/NETWORK.md#volume-rendering-on-intervals)."""
    before = torch.cat([torch.zeros_like(optical_depth[..., :1]), optical_depth[..., :-1]], -1).cumsum(-1)
    return torch.exp(-before) * (1 - torch.exp(-optical_depth))


def marching_weights(alpha: Tensor) -> Tensor:
    """Weights of the ray marcher along the last dimension (docs/NETWORK.md#alpha-weights)."""
    through = torch.ones_like(alpha[..., 0])
    weights = []
    for a in alpha.unbind(-1):
        weights.append((a + 1e-10) * through)
        through = through * (1 - a + 1e-10)
    return torch.stack(weights, -1)


def score_candidates(features: Tensor, candidates: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """The literal 3-D convolutions over candidates (docs/NETWORK.md#fine-depth).

    Args:
        features: ``(N, C, H, W)`` before their layer norm; candidates ``(N, H, W, K)``.
        parameters: state of a ``CandidateScorer``.

    Returns:
        ``(N, H, W, K)``.
    """
    channels = (features.shape[1],)
    p = parameters
    features = F.layer_norm(
        features.permute(0, 2, 3, 1), channels, p['feature_norm.weight'], p['feature_norm.bias'], eps=1e-5
    )
    code = F.linear(candidates[..., None], p['expand.weight'], p['expand.bias'])
    code = F.layer_norm(code, channels, p['expand_norm.weight'], p['expand_norm.bias'], eps=1e-5)
    x = (features[..., None, :] * code).permute(0, 4, 3, 1, 2)
    for layer in (1, 2, 3):
        x = F.conv3d(x, p[f'conv{layer}.weight'][..., None, None], p[f'conv{layer}.bias'], padding=(1, 0, 0))
        if layer < 3:
            x = F.leaky_relu(F.instance_norm(x, eps=1e-5), 0.2)
    return x[:, 0].permute(0, 2, 3, 1)


def look_up(
    points: Tensor, cells: dict[Cell, int], voxels: Tensor, level: int, first_reads_zero: bool
) -> tuple[Tensor, Tensor]:
    """``(..., C)`` voxel of each point of the cube (zeros outside) and ``(...)`` whether there is one (6.10)."""
    indices = [cells.get(query_cell(point, level), -1) for point in points.reshape(-1, 3).tolist()]
    index = torch.tensor(indices).view(points.shape[:-1])
    readable = index > 0 if first_reads_zero else index >= 0
    padded = torch.cat([voxels, voxels.new_zeros(1, voxels.shape[1])])
    return padded[torch.where(readable, index, len(voxels))], index >= 0


def march(logits: Tensor, depths: Tensor) -> Tensor:
    """Weights ``(rays, n - 1)`` from density logits and depths of samples ``(rays, n)``."""
    sigma = torch.exp((logits[:, 1:] + logits[:, :-1]) / 2 - 1)
    return marching_weights(1 - torch.exp(-sigma * (depths[:, 1:] - depths[:, :-1])))


def render(
    read: Callable[[Tensor], tuple[Tensor, Tensor]],
    edges: Tensor,
    origins: Tensor,
    directions: Tensor,
    far: float,
    fine_samples: int = 30,
    fine_step: float = 0.1,
    quirks: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Composite, depth, weights and sample depths of rays ``(rays, 3)`` (docs/NETWORK.md#rendering).

    Without ``quirks`` the fine samples lie evenly around the middle of the heaviest interval.

    ``read`` gives colors ``(rays, n, C)`` and clamped density logits ``(rays, n)`` at world points ``(rays, n, 3)``.
    """

    def sample(depths: Tensor) -> tuple[Tensor, Tensor]:
        return read(origins[:, None] + depths[..., None] * directions[:, None])

    coarse = ((edges[1:] + edges[:-1]) / 2).repeat(len(origins), 1)
    coarse_colors, coarse_logits = sample(coarse)
    heaviest = march(coarse_logits, coarse).argmax(1)
    center = coarse[torch.arange(len(coarse)), heaviest]
    steps = torch.arange(fine_samples, dtype=edges.dtype) - fine_samples // 2
    if not quirks:
        center = (center + coarse[torch.arange(len(coarse)), heaviest + 1]) / 2
        steps = torch.linspace(-(fine_samples - 1) / 2, (fine_samples - 1) / 2, fine_samples, dtype=edges.dtype)
    fine = (center[:, None] + fine_step * steps).clamp(0, far)
    fine_colors, fine_logits = sample(fine)

    depths, order = torch.cat([coarse, fine], 1).sort(dim=1, stable=True)
    logits = torch.cat([coarse_logits, fine_logits], 1).gather(1, order)
    colors = torch.cat([coarse_colors, fine_colors], 1)
    colors = colors.gather(1, order[..., None].expand_as(colors))

    weights = march(logits, depths)
    middle_colors = (colors[:, 1:] + colors[:, :-1]) / 2
    middle_depths = (depths[:, 1:] + depths[:, :-1]) / 2
    composite = 2 * (weights[..., None] * middle_colors).sum(1) - 1
    depth = (weights * middle_depths).sum(1) / (1e-10 + weights.sum(1))
    return composite, depth.clamp(1e-5, far), weights, depths
