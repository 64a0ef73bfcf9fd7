"""The whole network in float32, end to end, by medians and quantiles (parity notes, section 11)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..models.published import published_name
from .comparison import Bound, Bounds, Report
from .run import Run, run_network
from .vectors import Vectors

# (median, 99 %) relative to the mean size. Rounding moves points into neighbouring cells, so the original, run with
# another number of threads and in float64, differs from itself: coarse depth 9e-6 and 3e-4, fine depth 1e-5 and 4e-2,
# composite 6e-4 and 0.23, rendered depth 5e-4 and 0.13, colours 9e-3 and 0.09 (section 11, for ``model``). Twice that,
# and more for the tails of other variants, of which no such figures exist. Proof of equality is the float64 part.
BOUNDS: dict[str, Bounds] = {
    'coarse/depth': (Bound(2e-5, 0.5), Bound(6e-4, 0.99)),
    'fine/depth': (Bound(3e-5, 0.5), Bound(1e-1, 0.99)),
    'render/composite_features': (Bound(1e-2, 0.5), Bound(5e-1, 0.99)),
    'render/depth': (Bound(1e-3, 0.5), Bound(3e-1, 0.99)),
    'out/recons': (Bound(2e-2, 0.5), Bound(5e-1, 0.99)),
}
# Share of cells that only one of two runs of the original has: 1.2 % of those of level 9.
CELLS: Bounds = (Bound(0.025),)
# Relative L2 difference per parameter: medians 0.12 to 0.22 between runs of the original.
GRADIENTS: Bounds = (Bound(0.45, 0.5),)


def check_end_to_end(vectors: Vectors, variant: str, report: Report) -> None:
    """What ``<variant>.npz`` holds of the ends of a float32 run."""
    expected = vectors.arrays(variant)
    run = run_network(vectors, variant, torch.float32)
    ours = {
        'coarse/depth': run.encoded.coarse.depth,
        'fine/depth': run.encoded.fine.depth,
        'render/composite_features': run.composite,
        'render/depth': run.rendering.depth[:, None],
        'out/recons': run.recons,
    }
    for name, values in ours.items():
        if name in expected:
            report.add(name, values, expected[name], BOUNDS[name])
    for level in (7, 9):
        if f'octree/voxels{level}' in expected:
            mine = set(map(tuple, run.encoded.scene.grid.cells(level).tolist()))
            theirs = set(map(tuple, expected[f'octree/voxels{level}'].tolist()))
            share = np.array([len(mine ^ theirs) / len(theirs)])
            report.add_row(f'octree/voxels{level} in one run only', len(theirs), share, CELLS)
    _check_gradients(run, expected, report)


def _check_gradients(run: Run, expected: Mapping[str, np.ndarray], report: Report) -> None:
    names, parameters = zip(*run.network.named_parameters(), strict=True)
    losses = run.losses()
    for loss, value in (('A', losses['A']), ('B', losses['C'] + losses['F'])):
        if f'grad{loss}/summary' not in expected:
            continue
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        found = dict(zip(map(published_name, names), gradients, strict=True))
        errors = []
        for name, summary in zip(expected['grad/param_names'].tolist(), expected[f'grad{loss}/summary'], strict=True):
            stored, gradient = expected.get(f'grad{loss}/{name}'), found.get(name)
            if stored is None or gradient is None or not np.linalg.norm(stored) > 1e-3 * summary[0] > 0:
                continue
            elements = gradient.flatten()[:: int(expected[f'grad_stride/{name}'])].numpy()
            errors.append(np.linalg.norm(elements - stored) / np.linalg.norm(stored))
        report.add_row(f'grad{loss} per parameter', len(errors), np.array(errors), GRADIENTS)
