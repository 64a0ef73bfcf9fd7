"""How sure a figure is: the bootstrap over scenes, as samples of one scene are much alike (docs/EVALUATION.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# Draws of as many scenes as there are, with replacement; always the same ones.
REPEATS, SEED = 1000, 0
# Share of the draws whose figures lie in the interval.
SHARE = 0.95


def draw_scenes(count: int) -> np.ndarray:
    """Return how often each of some scenes was drawn, ``(REPEATS, count)`` int64; each row sums to ``count``."""
    return np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), REPEATS)


def resampled_means(scenes: Sequence[Sequence[Mapping[str, float]]], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the means ``(R,)`` of each figure over all samples of the scenes that were drawn.

    Args:
        scenes: the figures of each sample of each scene; a sample without a figure is not in its mean.
        weights: ``(R, S)`` how often each scene was drawn.

    Returns:
        NaN where no sample that was drawn has the figure.
    """
    names = dict.fromkeys(name for scene in scenes for sample in scene for name in sample)
    found = {}
    for name in names:
        values = [[sample[name] for sample in scene if name in sample] for scene in scenes]
        sums, counts = (weights @ np.array([function(v) for v in values], float) for function in (sum, len))
        found[name] = np.divide(sums, counts, out=np.full(len(weights), np.nan), where=counts > 0)
    return found


def interval(draws: np.ndarray) -> tuple[float, float] | None:
    """Return the bounds between which 95 % of the draws lie, those that are NaN left out; None if all are."""
    known = draws[~np.isnan(draws)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(low), float(high)
