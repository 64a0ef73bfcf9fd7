"""The parameterized space (paper section 3.2; docs/NETWORK.md#parameterized-space).

World coordinates x (meters) map to s in (-1, 1) per axis: linear within the inner range r, contracted outside,
so that the whole world fits into the cube [-1, 1]^3 of the voxel grids.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParameterizedSpace:
    """Settings of the mapping; it holds no tensors, so it has neither device nor dtype.

    Attributes:
        inner_range: r for x and y, meters.
        inner_range_z: r for z, meters.
        contract_ratio: c, the share of [-1, 1] that the inner range takes.
        near: distance of the first bin edge, meters.
        step: bin width inside the inner range, meters.
        outer_step: bin width outside, in units of ``step`` measured in s.
        far: far plane, meters; also the greatest depth that is rendered.
    """

    inner_range: float = 50.0
    inner_range_z: float = 6.4
    contract_ratio: float = 0.8
    near: float = 0.1
    step: float = 0.2
    outer_step: float = 1.0
    far: float = 120.0

    def contract(self, points: Tensor) -> Tensor:
        """Map world points ``(..., 3)`` in meters to the cube, ``(..., 3)``."""
        return contract(points, self._inner_ranges(points), self.contract_ratio)

    def contract_axes(self, axes: Sequence[Tensor] | Tensor) -> Sequence[Tensor] | Tensor:
        """Map x, y and z of world points as :meth:`contract` does: three tensors of any shape, or one ``(3, ...)``."""
        ranges = self._inner_ranges(axes[0])
        if isinstance(axes, Tensor):
            return contract(axes, ranges.view(3, *(1,) * (axes.dim() - 1)), self.contract_ratio)
        return [contract(x, ranges[i], self.contract_ratio) for i, x in enumerate(axes)]

    def _inner_ranges(self, like: Tensor) -> Tensor:
        """Return the inner ranges of x, y and z, a tensor: PyTorch divides by numbers less exactly on some devices."""
        return _constants((self.inner_range, self.inner_range, self.inner_range_z), like.dtype, like.device)

    def expand(self, points: Tensor) -> Tensor:
        """Map points of the cube ``(..., 3)`` to the world, ``(..., 3)`` in meters; the inverse of :meth:`contract`."""
        axes = (self.inner_range, self.inner_range, self.inner_range_z)
        return torch.stack([expand(points[..., i], r, self.contract_ratio) for i, r in enumerate(axes)], dim=-1)

    def bin_edges(self, like: Tensor, stride: float = 1) -> Tensor:
        """Return the edges ``(D + 1,)`` of the depth bins along a ray, meters, in dtype and device of ``like``.

        Equal steps inside the inner range, equal steps in s outside. ``stride`` widens every bin
        (``sparse_sample_ratio``). The far plane itself is not an edge: the last one lies up to a bin before it.
        """
        return _bin_edges(self, stride, like.dtype, like.device)


@functools.lru_cache(maxsize=16)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make a tensor once: a copy from the host would wait for the device."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


@functools.lru_cache(maxsize=16)
def _bin_edges(space: ParameterizedSpace, stride: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Compute the edges once, on the CPU: they have the same bits on every device, and their number is not fetched."""
    # The cache serves any caller, so the edges must be no inference tensors.
    with torch.inference_mode(False), torch.no_grad():
        like = torch.empty((), dtype=dtype, device='cpu')
        step = space.step * stride
        inner = torch.arange(space.near, space.inner_range, step, dtype=dtype, device=like.device)
        c = space.contract_ratio
        outer_step = contract(like.new_full((), step * space.outer_step), space.inner_range, c)
        far = contract(like.new_full((), space.far), space.inner_range, c)
        first = like.new_full((), c)
        outer = first[None]
        if far > first:
            outer = torch.arange(c, float(far), float(outer_step), dtype=dtype, device=like.device)
        return torch.cat([inner, expand(outer, space.inner_range, c)]).to(device)


def contract(x: Tensor, inner_range: float | Tensor, contract_ratio: float) -> Tensor:
    """Map x to s in the published order of operations: cells are chosen by rounding s."""
    size = x.abs()
    outside = (1 - inner_range / size * (1 - contract_ratio)) * x / size
    return torch.where(size < inner_range, x / inner_range * contract_ratio, outside)


def expand(s: Tensor, inner_range: float, contract_ratio: float) -> Tensor:
    """Map s to x; the inverse of :func:`contract`."""
    size = s.abs()
    outside = inner_range * (1 - contract_ratio) / (1 - size) * s / size
    return torch.where(size < contract_ratio, s * inner_range / contract_ratio, outside)
