"""Depth bins of equal ratio, and depth from a distribution over bins."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.tensors import full_precision
from ..utils.errors import InputError

# How much nearer than the next edge an edge is at least, where all would be behind the last one.
SQUEEZED = 1e-3
# No camera of a car has as long a focal length, in widths of its image; a number of pixels is longer.
MAX_FOCAL = 12


@dataclass(frozen=True)
class LogBins:
    """Depth bins whose edges have equal ratios: as wide as far is proportionate, where equal steps are coarse nearby.

    The last bin holds everything behind it, the sky too.

    An image does not tell how large what it shows is: what looks alike is twice as far from a camera of twice the focal
    length. With ``focal``, bins are those of depth over focal length, so that what looks alike is in the same bin,
    whatever the camera.

    Attributes:
        number: D, the number of bins.
        near: the first edge, meters, above 0.
        far: the last edge, meters; that of the space, so that the sky lies in the last bin.
        focal: focal length, in widths of the image that the network sees, for which these are the edges. Those of
            another camera are farther in proportion to its focal length, but for the last, which is ``far``
            (:meth:`edges_of`). ``None``: all cameras have the same edges.

    Raises:
        InputError: fewer than two bins, edges that do not ascend from above 0, or a focal length that cannot be.
    """

    number: int = 48
    near: float = 0.5
    far: float = 120.0
    focal: float | None = None

    def __post_init__(self) -> None:
        if self.focal is not None and not 0 < self.focal < MAX_FOCAL:
            raise InputError(
                f'depth_bins has focal={self.focal:g}; give a focal length in widths of the image: pixels of it over '
                f'pixels of the width, above 0 and below {MAX_FOCAL}'
            )
        if self.number < 2 or not 0 < self.near < self.far:
            raise InputError(
                f'depth_bins has {self.number} bins from {self.near:g} to {self.far:g} m; give a number of 2 or '
                'more and 0 < near < far'
            )

    def edges(self, like: Tensor) -> Tensor:
        """Return the edges ``(D + 1,)``, meters, in dtype and device of ``like``."""
        return _edges(self, like.dtype, like.device)

    def edges_of(self, cameras: Cameras) -> Tensor:
        """Return the edges ``(V, D + 1)`` of each camera, meters, for bins with ``focal``; without gradient.

        Edges that would be behind ``far`` are squeezed in front of it, so that all edges ascend.
        """
        assert self.focal is not None
        edges = self.edges(cameras.intrinsics)
        places = torch.arange(len(edges), device=edges.device, dtype=edges.dtype)
        latest = self.far * (1 - SQUEEZED * (self.number - places))
        scaled = torch.minimum(cameras.focal_lengths()[:, None] / (self.focal * cameras.width) * edges, latest)
        return torch.cat([scaled[:, :-1], latest[-1:].expand(len(scaled), 1)], dim=1).detach()


@functools.lru_cache(maxsize=16)
def _edges(bins: LogBins, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make the edges once: a copy from the host would wait for the device."""
    rate = math.log(bins.far / bins.near) / bins.number
    values = [bins.near * math.exp(rate * place) for place in range(bins.number + 1)]
    # The cache serves any caller, so the edges must be no inference tensors.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def log_centers(edges: Tensor) -> Tensor:
    """Return the logarithms ``(..., D)`` of the geometric centers of bins with edges ``(..., D + 1)``."""
    logs = full_precision(edges).log()
    return (logs[..., 1:] + logs[..., :-1]) / 2


def median_bin(weights: Tensor, edges: Tensor) -> Tensor:
    """Return the bin ``(rows,)`` of the median of weights over depth: none has a smaller expected relative error.

    Relative errors weigh a near surface more than a far one: taking far for near costs the ratio of the two, taking
    near for far less than 1. Where both are likely, this is the near one. Arguments: :func:`expectation_around`.
    """
    cumulative = (weights * (-log_centers(edges)).exp()).cumsum(-1)
    passed = (cumulative < cumulative[..., -1:] / 2).sum(-1)
    return passed.clamp_max(weights.shape[-1] - 1)


def expectation_around(weights: Tensor, edges: Tensor, center: Tensor, window: int) -> Tensor:
    """Return the mean depth ``(rows,)`` of the bins near one, in the logarithm of depth.

    The mean over all bins lies between two surfaces where the weights have two modes, as at silhouettes; this one lies
    on one of them. The choice of the bin carries no gradient.

    Args:
        weights: ``(rows, D)``, 0 or more.
        edges: ``(D + 1,)`` edges of the bins, meters.
        center: ``(rows,)`` the bin.
        window: bins on either side of it that count.
    """
    bins = torch.arange(-window, window + 1, device=weights.device) + center[..., None]
    inside = bins.clamp(0, weights.shape[-1] - 1)
    near = torch.where(bins == inside, weights.gather(-1, inside), 0.0)
    logs = log_centers(edges)[inside]
    return ((near * logs).sum(-1) / near.sum(-1).clamp_min(torch.finfo(near.dtype).tiny)).exp()
