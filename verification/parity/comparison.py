"""Differences between stored and own numbers, their bounds, and a table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.evaluation.report import text_table


@dataclass(frozen=True)
class Bound:
    """Up to this quantile, differences must be small, relative to the mean size of the expected numbers.

    Attributes:
        ceiling: the largest limit. Where rounding is measured (``conditioning.py``), its change sets the limit,
            which is below the ceiling or at it.
    """

    ceiling: float
    quantile: float = 1.0


Bounds = tuple[Bound, ...]

# Units in the last place that a difference may always have, and how many times the change of rounding.
FLOOR = 4
FACTOR = 16

# Cells, indices, counts: the same ones.
EQUAL: Bounds = (Bound(0.0),)
# Float64, where a faithful program agrees to 1e-12 of a faithful program. Rounding changes ill-conditioned numbers
# more: the depth of rays that are nearly transparent by 1e-9, and so the losses that sum it.
FLOAT64: Bounds = (Bound(1e-9, 0.5), Bound(1e-7, 0.99), Bound(1e-6))
FLOAT64_SUM: Bounds = (Bound(1e-7),)

# Float32, stage by stage, each stage fed with its stored inputs. Faithful programs reach about 1e-5, and 1e-4 behind
# deep stacks of convolutions; the original differs by that, and single numbers by more, from its own float64.
# A map of the space, two or three operations.
ROUNDING: Bounds = (Bound(1e-5),)
SHALLOW: Bounds = (Bound(1e-4),)
DEEP: Bounds = (Bound(1e-3, 0.5), Bound(5e-2))
# The bottom of the pyramids: norms over 2 x 4 and 4 x 7 positions amplify rounding by hundreds.
BOTTOM: Bounds = (Bound(1e-2, 0.5), Bound(2e-1))
# Depths and weights are exponentials of such numbers, those of the fine net of numbers up to 30.
EXPONENTIAL: Bounds = (Bound(1e-3, 0.5), Bound(1e-2, 0.9), Bound(1e-1, 0.99))
# Along a ray all is shallow, but a sample within rounding of a cell's face is in either cell, and the greatest of some
# hundred weights decides where the fine samples lie. Where two are equal to rounding either is right.
RAYS: Bounds = (Bound(1e-5, 0.5), Bound(1e-3, 0.9), Bound(3e-2, 0.99))
HEAVIEST: Bounds = (Bound(0.0, 0.995),)
LOOK_UPS: Bounds = (Bound(0.0, 0.999),)

Errors = Callable[[Any, Any], np.ndarray]


@dataclass(frozen=True)
class ComparisonRow:
    """One comparison; errors are relative to the mean size of the expected numbers.

    Attributes:
        bound: the limits, and the quantile that each holds for.
        share_of_bound: the greatest error relative to its limit; more than 1 fails.
    """

    stage: str
    elements: int
    median: float
    percentile_99: float
    maximum: float
    bound: str
    passed: bool
    share_of_bound: float


@dataclass
class Comparison:
    """Our numbers, the stored ones, and how much rounding changes ours.

    Attributes:
        errors: the relative errors of its first argument, numbers like ours, from its second, numbers like the stored.
        unit: relative distance of neighboring floating-point numbers, eps, of the coarser of the two.
        coarser: how many times that of ours; what rounding changes of ours is that much less than of the stored.
        terms: of a number that is a sum, its terms relative to it: their changes are taken for that of the sum, as
            sums of few large changes may cancel by chance.
        twin: ours by tensors in the dtype of the expected ones, where ours come from a compiled loop, which is not
            perturbed: its changes are taken.
        changes: errors of perturbed runs from ours, one array per run.
    """

    stage: str
    elements: int
    ours: Any
    expected: Any
    bounds: Bounds
    errors: Errors
    unit: float
    coarser: float = 1.0
    terms: np.ndarray | None = None
    twin: np.ndarray | None = None
    changes: list[np.ndarray] = field(default_factory=list)

    def change_from(self, perturbed: Comparison) -> np.ndarray:
        """Return how far a perturbed run is from ours."""
        if self.terms is not None and perturbed.terms is not None:
            return np.array([np.linalg.norm(perturbed.terms - self.terms)])
        if self.twin is not None and perturbed.twin is not None:
            return self.errors(perturbed.twin, self.twin)
        return self.errors(perturbed.ours, self.ours) * self.coarser

    def limit(self, bound: Bound) -> float:
        """Return the greatest error at the quantile of ``bound`` that passes."""
        if not self.changes:
            return bound.ceiling
        # What is unknown or infinite in a perturbed run excuses nothing.
        changes = [np.nan_to_num(change, nan=0.0, posinf=0.0) for change in self.changes if change.size]
        change = max((float(np.quantile(change, bound.quantile)) for change in changes), default=0.0)
        return min(bound.ceiling, max(FLOOR * self.unit, FACTOR * change))

    def row(self) -> ComparisonRow:
        """Return the line of the table."""
        errors = self.errors(self.ours, self.expected)
        limits = [self.limit(bound) for bound in self.bounds]
        text = ' and '.join(
            f'{limit:.0e}' + ('' if bound.quantile == 1 else f' at {100 * bound.quantile:g} %')
            for limit, bound in zip(limits, self.bounds, strict=True)
        )
        if not errors.size:
            return ComparisonRow(self.stage, self.elements, 0.0, 0.0, 0.0, text, True, 0.0)
        with np.errstate(invalid='ignore'):
            at_bounds = [float(np.quantile(errors, bound.quantile)) for bound in self.bounds]
            median, tail, worst = (float(np.quantile(errors, q)) for q in (0.5, 0.99, 1))
        shares = [_share(error, limit) for error, limit in zip(at_bounds, limits, strict=True)]
        if not np.isfinite(errors).all():
            shares = [np.inf]
        return ComparisonRow(self.stage, self.elements, median, tail, worst, text, max(shares) <= 1, max(shares))


def _share(error: float, limit: float) -> float:
    return error / limit if limit else np.inf if error else 0.0


@dataclass
class Report:
    """Comparisons, collected under a heading, and the table of them."""

    heading: str = ''
    comparisons: list[Comparison] = field(default_factory=list)

    def add(
        self,
        stage: str,
        ours: Tensor | np.ndarray | float,
        expected: Tensor | np.ndarray | float,
        bounds: Bounds,
        terms: Tensor | None = None,
        twin: Tensor | None = None,
    ) -> None:
        """Compare numbers of one stage; a shape that differs fails. ``terms``, ``twin``: see :class:`Comparison`."""
        mine, unit = _unit(ours), max(_unit(ours), _unit(expected))
        ours, expected = _array(ours), _array(expected)
        if ours.shape != expected.shape:
            stage = f'{stage}: {ours.shape}, not {expected.shape}'
        known = expected[~np.isnan(expected)]
        scale = float(np.abs(known).mean()) if known.size else 1.0
        parts = None if terms is None else _array(terms) / (scale or 1.0)
        errors, coarser = _differences(scale or 1.0), unit / mine if mine else 1.0
        other = None if twin is None else _array(twin)
        self._keep(stage, ours.size, ours, expected, bounds, errors, unit, coarser, parts, other)

    def add_errors(self, stage: str, ours: Any, expected: Any, bounds: Bounds, errors: Errors, unit: float) -> None:
        """Compare by ``errors``, which tells how far, relatively, its first argument is from its second."""
        self._keep(stage, len(expected), ours, expected, bounds, errors, unit)

    def _keep(self, stage: str, *args: Any) -> None:
        self.comparisons.append(Comparison(f'{self.heading}{stage}', *args))

    def add_changes(self, perturbed: Report) -> None:
        """Take the differences from a run of the same checks as changes by rounding."""
        for mine, other in zip(self.comparisons, perturbed.comparisons, strict=True):
            mine.changes.append(mine.change_from(other))

    @property
    def rows(self) -> list[ComparisonRow]:
        """Return the lines of the table."""
        return [comparison.row() for comparison in self.comparisons]

    @property
    def passed(self) -> bool:
        """Return whether there are comparisons, and all of them pass."""
        return bool(self.comparisons) and all(row.passed for row in self.rows)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the lines as dictionaries, for JSON."""
        return [asdict(row) for row in self.rows]

    def __str__(self) -> str:
        header = ('stage', 'elements', 'median', '99 %', 'maximum', 'bound', 'result')
        rows = [
            (
                row.stage,
                str(row.elements),
                *(f'{error:.1e}' for error in (row.median, row.percentile_99, row.maximum)),
                row.bound,
                'pass' if row.passed else 'FAIL',
            )
            for row in self.rows
        ]
        return text_table(header, rows, left=(0, 5, 6))


def _differences(scale: float) -> Errors:
    """Return a function of differences relative to ``scale``: zero where both are NaN, infinite where one is."""

    def errors(ours: np.ndarray, expected: np.ndarray) -> np.ndarray:
        if ours.shape != expected.shape:
            return np.full(max(ours.size, 1), np.inf)
        unknown = np.isnan(expected)
        with np.errstate(invalid='ignore'):
            difference = np.where(ours == expected, 0.0, np.abs(ours - expected)) / scale
        difference = np.where(unknown, np.where(np.isnan(ours), 0.0, np.inf), difference)
        return np.nan_to_num(difference, nan=np.inf, posinf=np.inf)

    return errors


def _unit(values: Any) -> float:
    """Return eps of an array's dtype; plain numbers count as float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    dtype = getattr(values, 'dtype', np.dtype(np.float32))
    return float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 0.0


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.to(torch.float64) if values.is_floating_point() else values.long()
        values = values.numpy()
    values = np.asarray(values)
    return values.astype(np.float64)
