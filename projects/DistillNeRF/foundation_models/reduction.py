"""Fewer channels by principal components: the only place that says how features and words are reduced.

``y = (x @ reduction_mat - min) / (max - min)``, with ``reduction_mat`` ``(D, C)``, and ``min``, ``max`` ``(C,)``: the
three arrays of a file such as ``aux_models/clip/clip_reduction_pca.npz``. The columns of the matrix are the directions
in which the features are largest, orthogonal and of length 1. No mean is subtracted, as the formula has none: the
directions are those of the second moments, so that ``(x @ M) @ M.T`` is the nearest to ``x`` that C numbers can tell,
and products with words stay what they were as closely as can be. ``min`` and ``max`` leave 0.5 % of a sample out on
each side. So most values are in [0, 1]; the others are not cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.errors import InputError
from ..utils.files import atomic_path, require_file
from ..utils.provenance import fingerprint

CHANNELS = 64
ARRAYS = ('reduction_mat', 'min', 'max')
HINT = 'give the file of a reduction, such as tools/extract_features.py writes'
# Percent of the sample below min, and above max.
OUTSIDE = 0.5
# Rows of the sample that are kept to find min and max.
KEPT_ROWS = 20_000


@dataclass(frozen=True)
class Reduction:
    """A reduction of features or words.

    Attributes:
        matrix: ``(D, C)`` float32.
        low, high: ``(C,)`` float32, ``min`` and ``max`` of the file.
    """

    matrix: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def channels(self) -> tuple[int, int]:
        """Return the number of channels before and after, (D, C)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Reduce ``(..., D)`` to ``(..., C)`` float32.

        Raises:
            InputError: another number of channels.
        """
        if values.shape[-1] != self.matrix.shape[0]:
            raise InputError(
                f'the reduction is for {self.matrix.shape[0]} channels, the model has {values.shape[-1]}; '
                'give the reduction that was made for this model'
            )
        projected = values.astype(np.float32, copy=False) @ self.matrix
        return (projected - self.low) / (self.high - self.low)

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Return what of ``(..., D)`` the reduced ``(..., C)`` tell, float32."""
        return (values.astype(np.float32, copy=False) * (self.high - self.low) + self.low) @ self.matrix.T

    def digest(self) -> str:
        """Return a digest of the three arrays."""
        return fingerprint(**dict(zip(ARRAYS, (self.matrix, self.low, self.high), strict=True)))

    def save(self, path: str | Path) -> None:
        """Write it as ``.npz``, atomically."""
        with atomic_path(path) as temporary, temporary.open('wb') as file:
            np.savez(file, **dict(zip(ARRAYS, (self.matrix, self.low, self.high), strict=True)))


def load_reduction(path: str | Path) -> Reduction:
    """Read a reduction.

    Raises:
        InputError: a missing or damaged file, or arrays that are no reduction.
    """
    path = require_file(path, HINT)
    try:
        with np.load(path, allow_pickle=False) as content:
            if not isinstance(content, Mapping):
                raise ValueError('a single array')
            matrix, low, high = (np.asarray(content[name], np.float32) for name in ARRAYS)
    except Exception as error:  # a damaged file can fail in nearly any way
        cause = ' '.join(str(error).split())[:200]
        raise InputError(f'{path}: holds no {", ".join(ARRAYS)} ({cause}); {HINT}') from error
    low, high = low.reshape(-1), high.reshape(-1)
    fits = matrix.ndim == 2 and low.shape == high.shape == matrix.shape[1:]
    if not fits or not all(np.isfinite(array).all() for array in (matrix, low, high)) or not (high > low).all():
        shapes = f'{matrix.shape}, {low.shape}, {high.shape}'
        raise InputError(f'{path}: its arrays {shapes} are no finite (D, C), (C,), (C,) with min below max; {HINT}')
    return Reduction(matrix, low, high)


class ReductionFit:
    """Find the reduction of a sample that comes in parts, in memory that does not grow with it.

    Args:
        channels: after the reduction; features with no more than these keep theirs, and are only scaled.
        seed: of the rows that are kept to find min and max.
    """

    def __init__(self, channels: int = CHANNELS, seed: int = 0) -> None:
        self.channels = channels
        self.rows = 0
        self._moments: np.ndarray | None = None
        self._kept: np.ndarray | None = None
        self._keys = np.empty(0)
        self._random = np.random.default_rng(seed)

    def add(self, rows: np.ndarray) -> None:
        """Add rows ``(n, D)`` of the sample.

        Raises:
            InputError: rows that are not finite.
        """
        if not np.isfinite(rows).all():
            raise InputError('the model makes features that are not finite; choose another model or precision')
        rows = rows.astype(np.float64)
        if self._moments is None:
            self._moments = np.zeros((rows.shape[1], rows.shape[1]))
            self._kept = np.empty((0, rows.shape[1]), np.float32)
        self._moments += rows.T @ rows
        self.rows += len(rows)
        # Those with the smallest random keys: every row is as likely to be kept.
        keys = np.concatenate([self._keys, self._random.random(len(rows))])
        kept = np.concatenate([self._kept, rows.astype(np.float32)])
        chosen = np.argsort(keys, kind='stable')[:KEPT_ROWS]
        self._keys, self._kept = keys[chosen], kept[chosen]

    def reduction(self) -> Reduction:
        """Return the reduction of what was added.

        Raises:
            InputError: nothing was, or fewer rows than channels.
        """
        if self._moments is None or self._kept is None or self.rows < min(self.channels, len(self._moments)):
            raise InputError(
                f'the sample has {self.rows} cells, too few for {self.channels} channels; take more images (--sample)'
            )
        matrix = principal_directions(self._moments, self.channels)
        projected = self._kept @ matrix
        low, high = np.percentile(projected, (OUTSIDE, 100 - OUTSIDE), axis=0).astype(np.float32)
        # A channel that never changes is 0.
        return Reduction(matrix, low, np.where(high > low, high, low + 1))

    def kept_share(self, reduction: Reduction) -> float:
        """Return the share of the sum of squares of what was added that a reduction keeps."""
        assert self._moments is not None
        matrix = reduction.matrix.astype(np.float64)
        kept = np.einsum('dc,de,ec->', matrix, self._moments, matrix, optimize=True)
        return float(kept / max(np.trace(self._moments), 1e-300))


def principal_directions(moments: np.ndarray, channels: int) -> np.ndarray:
    """Return the directions ``(D, channels)`` float32 of the largest second moments ``(D, D)``, the largest first.

    The number of largest size in each is positive. With no more than ``channels`` of D: the identity.
    """
    if len(moments) <= channels:
        return np.eye(len(moments), dtype=np.float32)
    _, vectors = np.linalg.eigh(moments)
    chosen = vectors[:, ::-1][:, :channels]
    largest = chosen[np.abs(chosen).argmax(0), np.arange(channels)]
    return (chosen * np.sign(largest)).astype(np.float32)
