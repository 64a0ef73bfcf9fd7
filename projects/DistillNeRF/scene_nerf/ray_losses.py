"""Losses on what passes through the cells, of a batch of rays."""

from __future__ import annotations

from torch import Tensor


def sky_loss(transmittance: Tensor, sky: Tensor) -> Tensor:
    """Return the mean of what ends on cells where the sky is seen, and of what passes where it is not.

    It grows linearly, so that a wrong label pulls no harder the less the ray agrees.

    Args:
        transmittance: ``(n,)`` what passes through everything.
        sky: ``(n,)`` from -1, certainly solid, by 0, unknown, to 1, certainly sky.
    """
    return (sky.clamp_min(0) * (1 - transmittance) - sky.clamp_max(0) * transmittance).mean()


def spread_loss(transmittance: Tensor, before: Tensor) -> Tensor:
    """Return the mean of how far apart the things are that a ray ends on: the distortion loss of mip-NeRF 360.

    For weights w at places s, the sum of w w' |s - s'| over all pairs is twice the integral over s of what ended before
    s times what ends behind it. Here that product is asked at random places.

    Args:
        transmittance: ``(n,)`` what passes through everything.
        before: ``(n, k)`` what passes up to the places.
    """
    return ((1 - before) * (before - transmittance[:, None])).mean()
