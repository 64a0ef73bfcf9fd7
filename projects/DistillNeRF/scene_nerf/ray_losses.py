"""Losses on what passes through the cells, of a batch of rays."""

from __future__ import annotations

from torch import Tensor

# Exponent of the loss of the sky: 1 is linear, 0 the logarithm. Even what is nearly opaque is drawn out of the sky.
SKY_EXPONENT = 0.5
# What passes counts as no less, as rays end there.
LEAST = 1e-3


def sky_loss(transmittance: Tensor, sky: Tensor) -> Tensor:
    """Return the mean of what ends on cells where the sky is seen, and of what passes where it is not.

    Elsewhere it grows linearly, so that a wrong label pulls no harder the less the ray agrees. In the sky that would
    leave what is nearly opaque as it is, as hardly anything passes through it, whatever its density: there it is the
    generalized cross entropy (Zhang and Sabuncu, 2018), between that and the logarithm.

    Args:
        transmittance: ``(n,)`` what passes through everything.
        sky: ``(n,)`` from -1, certainly solid, by 0, unknown, to 1, certainly sky.
    """
    ends = (1 - transmittance.clamp_min(LEAST) ** SKY_EXPONENT) / SKY_EXPONENT
    return (sky.clamp_min(0) * ends - sky.clamp_max(0) * transmittance).mean()


def spread_loss(transmittance: Tensor, before: Tensor) -> Tensor:
    """Return the mean of how far apart the things are that a ray ends on: the distortion loss of mip-NeRF 360.

    For weights w at places s, the sum of w w' |s - s'| over all pairs is twice the integral over s of what ended before
    s times what ends behind it. Here that product is asked at random places.

    Args:
        transmittance: ``(n,)`` what passes through everything.
        before: ``(n, k)`` what passes up to the places.
    """
    return ((1 - before) * (before - transmittance[:, None])).mean()
