"""Affine maps of colors that make images of different exposure alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# About how many cells are compared; averages, so that a blurred reference does not look like one of less contrast.
CELLS = 2000
# Colors further apart than this (of 0 to 1) are of another thing: they count half.
APART = 0.05
# How firmly a map stays at the identity, in squared colors.
RIDGE = 1e-3
ROUNDS = 3


def apply_exposure(exposure: Tensor, colors: Tensor) -> Tensor:
    """Map colors ``(S, 3, h, w)`` by affine maps ``(S, 3, 4)``."""
    red, green, blue, one = exposure[..., None, None].unbind(2)
    return red * colors[:, :1] + green * colors[:, 1:2] + blue * colors[:, 2:] + one


def fit_exposure(colors: Tensor, reference: Tensor, weights: Tensor) -> Tensor:
    """Fit maps of colors to a reference, robustly.

    Args:
        colors: ``(S, 3, h, w)``.
        reference: ``(3, h, w)``; NaN where it is not known.
        weights: ``(S, h, w)``, 0 where the colors do not belong to the reference.

    Returns:
        ``(S, 3, 4)``; near the identity where little is known.
    """
    known = (weights > 0) & reference.isfinite().all(0)
    inputs, targets, share = _cells(colors, reference.nan_to_num(), known.to(colors.dtype))
    identity = torch.eye(3, 4, dtype=colors.dtype, device=colors.device)
    exposure = identity.expand(len(colors), 3, 4)
    prior = RIDGE * torch.eye(4, dtype=colors.dtype, device=colors.device)
    for _ in range(ROUNDS):
        error = (exposure @ inputs - targets).square().mean(1)
        trust = (share / (1 + error / APART**2))[:, None]
        # Moments per cell of the image, seen or not: few cells weigh little against the prior.
        moments = (trust * inputs) @ inputs.mT / trust.shape[-1] + prior
        products = (trust * targets) @ inputs.mT / trust.shape[-1] + identity @ prior
        exposure = torch.linalg.solve(moments, products.mT).mT
    return exposure


def _cells(colors: Tensor, reference: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average known pixels over cells: colors and 1 ``(S, 4, n)``, reference ``(S, 3, n)``, share known ``(S, n)``."""
    height, width = reference.shape[1:]
    size = max(1, round((height * width / CELLS) ** 0.5))
    mask = known[:, None]
    stacked = torch.cat((mask * colors, mask * reference, mask), 1)
    *sums, share = F.avg_pool2d(stacked, size, ceil_mode=True, count_include_pad=False).flatten(2).unbind(1)
    means = torch.stack(sums, 1) / share.clamp_min(1e-6)[:, None]
    return torch.cat((means[:, :3], torch.ones_like(share)[:, None]), 1), means[:, 3:], share
