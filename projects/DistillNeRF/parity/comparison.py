"""Differences between stored and own numbers, their bounds, and a table of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Bound:
    """Up to this quantile, differences must be at most ``value`` times the mean size of the expected numbers."""

    value: float
    quantile: float = 1.0

    def __str__(self) -> str:
        return f'{self.value:.0e}' + ('' if self.quantile == 1 else f' at {100 * self.quantile:g} %')


Bounds = tuple[Bound, ...]

# Cells, indices, counts: the same ones.
EQUAL: Bounds = (Bound(0.0),)
# Float64, where the notes expect agreement to 1e-12 of a faithful program; their own bound is 1e-9 (section 8b).
FLOAT64: Bounds = (Bound(1e-9),)

# Float32, stage by stage, each stage fed with its stored inputs. Section 11 asks for about 1e-5, and for 1e-4 behind
# deep stacks of convolutions. The float32 of the original differs by that from its own float64, and single numbers by
# more; the bounds for all numbers are about four times what the original shows there.
SHALLOW: Bounds = (Bound(1e-5),)
DEEP: Bounds = (Bound(1e-4, 0.5), Bound(5e-3))
# The bottom of the pyramids: norms over 2 x 4 and 4 x 7 positions (the original: 3e-4, at worst 5e-3).
BOTTOM: Bounds = (Bound(1e-3, 0.5), Bound(2e-2))
# Depths and weights are exponentials of such numbers, those of the fine net of numbers up to 30.
EXPONENTIAL: Bounds = (Bound(1e-4, 0.5), Bound(1e-2, 0.99))
# Along a ray all is shallow, but the greatest of some hundred weights decides where the fine samples lie. Where two are
# equal to rounding either is right, so a few rays in a thousand may differ.
RAYS: Bounds = (Bound(1e-4, 0.995),)
HEAVIEST: Bounds = (Bound(0.0, 0.995),)


@dataclass(frozen=True)
class Row:
    """One comparison; errors are relative to the mean size of the expected numbers."""

    stage: str
    elements: int
    median: float
    percentile_99: float
    maximum: float
    bound: str
    passed: bool


@dataclass
class Report:
    """Rows of a table, collected under a heading."""

    rows: list[Row] = field(default_factory=list)
    heading: str = ''

    def add(self, stage: str, ours: Tensor | np.ndarray | float, expected: np.ndarray | float, bounds: Bounds) -> None:
        """Compare numbers of one stage; a shape that differs fails."""
        ours, expected = _array(ours), _array(expected)
        name = f'{self.heading}{stage}'
        if ours.shape != expected.shape:
            self.rows.append(
                Row(f'{name}: {ours.shape}, not {expected.shape}', ours.size, np.inf, np.inf, np.inf, '', False)
            )
            return
        if ours.size == 0:
            self.rows.append(Row(name, 0, 0.0, 0.0, 0.0, ' and '.join(map(str, bounds)), True))
            return
        unknown = np.isnan(expected)
        same_unknown = np.array_equal(unknown, np.isnan(ours))
        scale = np.abs(expected[~unknown]).mean() if (~unknown).any() else 1.0
        with np.errstate(invalid='ignore'):
            difference = np.where(ours == expected, 0.0, np.abs(ours - expected))
        errors = np.where(unknown, 0.0, difference) / (scale or 1.0)
        passed = all(np.quantile(errors, bound.quantile) <= bound.value for bound in bounds)
        self.rows.append(
            Row(
                name,
                ours.size,
                float(np.median(errors)),
                float(np.quantile(errors, 0.99)),
                float(errors.max()),
                ' and '.join(map(str, bounds)),
                bool(passed and same_unknown and np.isfinite(errors).all()),
            )
        )

    def add_row(self, stage: str, elements: int, errors: np.ndarray, bounds: Bounds) -> None:
        """Errors that were made relative already."""
        worst = float(np.max(errors, initial=0.0))
        median, tail = (float(np.quantile(errors, q)) if len(errors) else 0.0 for q in (0.5, 0.99))
        passed = len(errors) == 0 or all(bool(np.quantile(errors, b.quantile) <= b.value) for b in bounds)
        self.rows.append(
            Row(f'{self.heading}{stage}', elements, median, tail, worst, ' and '.join(map(str, bounds)), passed)
        )

    @property
    def passed(self) -> bool:
        """Whether there is something, and all of it holds."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    def as_dicts(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [asdict(row) for row in self.rows]

    def __str__(self) -> str:
        width = max((len(row.stage) for row in self.rows), default=5)
        lines = [f'{"stage":{width}}  elements    median      99 %   maximum  {"bound":36}  result']
        for row in self.rows:
            result = 'pass' if row.passed else 'FAIL'
            errors = f'{row.median:8.1e}  {row.percentile_99:8.1e}  {row.maximum:8.1e}'
            lines.append(f'{row.stage:{width}}  {row.elements:8d}  {errors}  {row.bound:36}  {result}')
        return '\n'.join(lines)


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.to(torch.float64) if values.is_floating_point() else values.long()
        values = values.numpy()
    values = np.asarray(values)
    return values.astype(np.float64)
