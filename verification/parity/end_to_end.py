"""The whole network in float32, end to end, by medians and quantiles (docs/NETWORK.md#tolerances)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from projects.DistillNeRF.models.conversion import published_name
from verification.parity.comparison import Bound, Bounds, Report
from verification.parity.run import Run, run_network
from verification.parity.vectors import Vectors, thinned

# Median and 90 %, relative to the mean size. Rounding moves points into neighboring cells, so two runs differ by what
# the scene does between cells: there is no sharp bound, and a run takes long, so the change by rounding is not measured
# each time. These are four times what two runs inside ``conditioning.Rounding`` change at most in the five variants
# (coarse depth 1.5e-5 and 1.6e-4, fine depth 2.4e-5 and 2.3e-3, composite 1.1e-2 and 7.6e-2, rendered depth 1.6e-3 and
# 2.5e-2, colors 1.9e-2 and 0.11). AVX2 and SSE4.1 kernels change 1.8e-2 and 9.6e-2 of the colors, less of the rest;
# the original differs from itself by the same orders. Proof of equality is the float64 part.
BOUNDS: dict[str, Bounds] = {
    'coarse/depth': (Bound(6e-5, 0.5), Bound(7e-4, 0.9)),
    'fine/depth': (Bound(1e-4, 0.5), Bound(1e-2, 0.9)),
    'render/composite_features': (Bound(5e-2, 0.5), Bound(3e-1, 0.9)),
    'render/depth': (Bound(7e-3, 0.5), Bound(1e-1, 0.9)),
    'out/recons': (Bound(8e-2, 0.5), Bound(5e-1, 0.9)),
}
# Share of cells that only one of two runs has: of level 9 up to 1.2 % between runs of the original, 1.4 % between
# kernels.
CELLS: Bounds = (Bound(0.05),)
# Relative L2 difference per parameter: of A medians up to 0.24 between kernels (1.4 is no relation at all), of B, which
# does not pass the cells, 4e-3 here, but 0.22 between runs of the original, whose norms sum in another order.
GRADIENTS: dict[str, Bounds] = {'A': (Bound(0.8, 0.5),), 'B': (Bound(0.1, 0.5),)}
EPS = torch.finfo(torch.float32).eps


def check_end_to_end(vectors: Vectors, variant: str, report: Report) -> None:
    """Check the final numbers of a float32 run in ``<variant>.npz``."""
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
            report.add(name, thinned(values, expected[name]), expected[name], BOUNDS[name])
    for level in (7, 9):
        if f'octree/voxels{level}' in expected:
            mine = set(map(tuple, run.encoded.scene.grid.cells(level).tolist()))
            theirs = set(map(tuple, expected[f'octree/voxels{level}'].tolist()))
            report.add_errors(f'octree/voxels{level} in one run only', mine, theirs, CELLS, _share_of_cells, EPS)
    _check_gradients(run, expected, report)


def _check_gradients(run: Run, expected: Mapping[str, np.ndarray], report: Report) -> None:
    names, parameters = zip(*run.network.named_parameters(), strict=True)
    losses = run.losses()
    for loss, bounds in GRADIENTS.items():
        if f'grad{loss}/summary' not in expected:
            continue
        gradients = torch.autograd.grad(losses[loss].sum(), parameters, retain_graph=True, allow_unused=True)
        found = dict(zip(map(published_name, names), gradients, strict=True))
        ours, theirs = {}, {}
        for name, summary in zip(expected['grad/param_names'].tolist(), expected[f'grad{loss}/summary'], strict=True):
            stored, gradient = expected.get(f'grad{loss}/{name}'), found.get(name)
            if stored is None or gradient is None or not np.linalg.norm(stored) > 1e-3 * summary[0] > 0:
                continue
            ours[name] = gradient.flatten()[:: int(expected[f'grad_stride/{name}'])].cpu().numpy()
            theirs[name] = stored
        report.add_errors(f'grad{loss} per parameter', ours, theirs, bounds, _gradient_errors, EPS)


def _share_of_cells(ours: set, expected: set) -> np.ndarray:
    return np.array([len(ours ^ expected) / len(expected)])


def _gradient_errors(ours: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.array([np.linalg.norm(ours[name] - x) / np.linalg.norm(x) for name, x in expected.items()])
