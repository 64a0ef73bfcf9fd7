"""Scale and shift that bring estimated depth to meters, fitted to LiDAR so that outliers do not count.

Errors are relative: both ``(scale * x + shift - z) / z`` of depths and the same of inverse depths are, to first order,
the relative error of the depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Fewer points tell nothing.
FEWEST_POINTS = 50
# Lines through pairs of points that are tried first, and points on which they are compared.
PAIRS, COMPARED = 400, 3000
# Tukey's biweight: where a point counts nothing, in standard deviations; and what is exact, relative.
CUT, EXACT = 4.685, 1e-3
ROUNDS = 20
# The middle eight tenths of the estimates must differ by this, relative to their median: otherwise any line fits.
LEAST_SPREAD = 0.02


@dataclass(frozen=True)
class Alignment:
    """What brings the output of a depth network to meters.

    Attributes:
        scale, shift: depth, or inverse depth (1 / m), is ``scale * output + shift``.
        inverse: whether the output is inverse depth.
        points: how many LiDAR points there were.
        residual: median relative error of the depth at these points.
        outliers: share of the points that did not count in the end.
    """

    scale: float
    shift: float
    inverse: bool
    points: int = 0
    residual: float = float('nan')
    outliers: float = float('nan')

    def depth(self, output: np.ndarray) -> np.ndarray:
        """Return z in meters, float32, of outputs of any shape; NaN where that is not a finite z in front."""
        line = self.scale * output.astype(np.float64) + self.shift
        with np.errstate(divide='ignore', invalid='ignore'):
            depth = (1 / line if self.inverse else line).astype(np.float32)
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


def align(output: np.ndarray, depth: np.ndarray, inverse: bool) -> Alignment | None:
    """Fit scale and shift to LiDAR.

    The line through two points that most others agree with (least median of relative errors) is refined by reweighted
    least squares (Tukey's biweight): up to nearly half of the points may be wrong, such as those that a camera, lower
    than the LiDAR, cannot see.

    Args:
        output: ``(n,)`` of the network, at LiDAR points.
        depth: ``(n,)`` z of these points, meters, above 0.
        inverse: whether the output is inverse depth.

    Returns:
        the fit, whose scale is not above 0 where the output falls while it should rise; None if the points are too few
        or too much alike to tell.
    """
    known = np.isfinite(output) & np.isfinite(depth)
    x, z = output[known].astype(np.float64), depth[known].astype(np.float64)
    if len(x) < FEWEST_POINTS:
        return None
    low, middle, high = np.percentile(x, (10, 50, 90))
    if not high - low > LEAST_SPREAD * max(abs(middle), 1e-12):
        return None
    y = 1 / z if inverse else z
    line = _consensus(x, y)
    weights = np.ones(len(x))
    for _ in range(ROUNDS):
        weights = _biweights((line[0] * x + line[1] - y) / y)
        refined = _least_squares(x, y, weights)
        if refined is None:
            break
        if np.allclose(refined, line, rtol=1e-9, atol=0):
            break
        line = refined
    fit = Alignment(float(line[0]), float(line[1]), inverse)
    found = fit.depth(x)
    # Where the fit sees nothing, it is as wrong as can be.
    errors = np.where(np.isnan(found), np.inf, np.abs(found - z) / z)
    return Alignment(fit.scale, fit.shift, inverse, len(x), float(np.median(errors)), float((weights == 0).mean()))


def _consensus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return scale and shift of the line through two points with the least median relative error."""
    # The same each time, whatever was drawn before.
    generator = np.random.default_rng(0)
    order = np.argsort(x, kind='stable')
    third = max(1, len(x) // 3)
    # Far apart, so that noise does not turn the line.
    first, second = order[generator.integers(third, size=PAIRS)], order[-1 - generator.integers(third, size=PAIRS)]
    apart = x[second] > x[first]
    first, second = first[apart], second[apart]
    scales = (y[second] - y[first]) / (x[second] - x[first])
    shifts = y[first] - scales * x[first]
    some = generator.permutation(len(x))[:COMPARED]
    errors = np.abs((scales[:, None] * x[some] + shifts[:, None]) / y[some] - 1)
    best = int(np.median(errors, axis=1).argmin())
    return np.array([scales[best], shifts[best]])


def _biweights(errors: np.ndarray) -> np.ndarray:
    """Return Tukey's weights ``(n,)`` of relative errors ``(n,)``; their spread is that of the better half."""
    spread = max(1.4826 * float(np.median(np.abs(errors))), EXACT)
    return np.square(1 - np.square(errors / (CUT * spread)).clip(max=1))


def _least_squares(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """Return scale and shift of least weighted squares of relative errors; None where a whole line fits as well."""
    root = np.sqrt(weights) / y
    design = np.stack([root * x, root], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(design, root * y, rcond=None)
    return solution if rank == 2 else None
