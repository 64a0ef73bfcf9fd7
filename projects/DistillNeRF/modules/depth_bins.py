"""Depth bins of equal ratio, and the depth at the mode of a distribution over bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.tensors import full_precision
from ..utils.errors import InputError


@dataclass(frozen=True)
class LogBins:
    """Depth bins whose edges have equal ratios: as wide as far is proportionate, where equal steps are coarse nearby.

    The last bin holds everything behind it, the sky too.

    Attributes:
        number: D, the number of bins.
        near: the first edge, meters, above 0.
        far: the last edge, meters; that of the space, so that the sky lies in the last bin.

    Raises:
        InputError: fewer than two bins, or edges that do not ascend from above 0.
    """

    number: int = 48
    near: float = 0.5
    far: float = 120.0

    def __post_init__(self) -> None:
        if self.number < 2 or not 0 < self.near < self.far:
            raise InputError(
                f'depth_bins has {self.number} bins from {self.near:g} to {self.far:g} m; give a number of 2 or '
                'more and 0 < near < far'
            )

    def edges(self, like: Tensor) -> Tensor:
        """Return the edges ``(D + 1,)``, meters, in dtype and device of ``like``; they are made on the CPU."""
        steps = torch.linspace(0, 1, self.number + 1, dtype=torch.float64)
        edges = self.near * (math.log(self.far / self.near) * steps).exp()
        return edges.to(like.device, like.dtype)


def log_centers(edges: Tensor) -> Tensor:
    """Return the logarithms ``(..., D)`` of the geometric centers of bins with edges ``(..., D + 1)``."""
    logs = full_precision(edges).log()
    return (logs[..., 1:] + logs[..., :-1]) / 2


def expectation_at_mode(weights: Tensor, edges: Tensor, window: int) -> Tensor:
    """Return the depth ``(rows,)`` around the heaviest bin: the mean of the bins near it, in the logarithm of depth.

    The mean over all bins lies between two surfaces where the weights have two modes, as at silhouettes; this one lies
    on one of them. The choice of the bin carries no gradient.

    Args:
        weights: ``(rows, D)``, 0 or more.
        edges: ``(D + 1,)`` edges of the bins, meters.
        window: bins on either side of the heaviest that count.
    """
    mode = weights.argmax(-1, keepdim=True)
    bins = torch.arange(-window, window + 1, device=weights.device) + mode
    last = weights.shape[-1] - 1
    inside = bins.clamp(0, last)
    near = torch.where(bins == inside, weights.gather(-1, inside), 0.0)
    logs = log_centers(edges)[inside]
    return ((near * logs).sum(-1) / near.sum(-1).clamp_min(torch.finfo(near.dtype).tiny)).exp()
