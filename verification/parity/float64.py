"""The whole network in float64: every cell, every heaviest interval, all numbers, all gradients."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.models.conversion import published_name
from projects.DistillNeRF.modules.pooling import candidate_positions, pool_views
from projects.DistillNeRF.modules.renderer import heaviest_interval, place_coarse_samples
from verification.parity.comparison import EQUAL, FLOAT64, FLOAT64_SUM, Report
from verification.parity.run import Run, run_network
from verification.parity.vectors import Vectors, thinned
from verification.parity.weights import normal_by_name

# Biases before a norm have a true gradient of zero: below this norm there is only noise.
NO_GRADIENT = 1e-6


def check_float64(vectors: Vectors, variant: str, report: Report, gradients: bool = True) -> None:
    """Check all numbers of ``f64_<variant>.npz``, or all except the gradients."""
    expected = vectors.arrays(f'f64_{variant}')
    run = run_network(vectors, variant, torch.float64)
    _check_encoder(run, expected, report)
    _check_voxels(run, expected, report)
    _check_rendering(run, expected, report)
    if gradients:
        _check_gradients(run, expected, report)


def _check_encoder(run: Run, expected: Mapping[str, np.ndarray], report: Report) -> None:
    coarse, fine = run.encoded.coarse, run.encoded.fine
    ours = {
        'coarse_depth': coarse.depth,
        'fine_depth': fine.depth,
        'coarse_bin_edges': run.network.space.bin_edges(coarse.depth),
        'coarse_logit_preclamp_sub': run.coarse_logits.permute(0, 2, 3, 1).flatten(0, 2),
        'monodepthfeat_sub': coarse.features,
        'imgfeat_sub': fine.features,
        'fine_logit_pre_sigmoid_sub': run.scores.permute(0, 3, 1, 2),
    }
    for name, values in ours.items():
        if name in expected:
            report.add(name, thinned(values, expected[name]), expected[name], FLOAT64)


def _check_voxels(run: Run, expected: Mapping[str, np.ndarray], report: Report) -> None:
    scene, fine, space = run.encoded.scene, run.encoded.fine, run.network.space
    report.add(
        'num_voxels_7_9', torch.tensor([scene.grid.num_coarse, scene.grid.num_fine]), expected['num_voxels_7_9'], EQUAL
    )
    for level in (7, 9):
        if f'voxels{level}' in expected:
            report.add(f'voxels{level}', scene.grid.cells(level), expected[f'voxels{level}'], EQUAL)
    # Published points are ordered camera, candidate, row, column.
    positions = candidate_positions(run.inputs, fine.candidates).permute(0, 3, 1, 2, 4)
    _, pooled, pooled_fine = pool_views(run.inputs, fine, space, 7, 9)
    ours = {
        'param_coord_sub': space.contract(positions.reshape(-1, 3)),
        'pooled7_sub': pooled,
        'pooled9_sub': pooled_fine,
        'convout7_sub': scene.coarse,
    }
    for name, values in ours.items():
        if name in expected:
            report.add(name, thinned(values, expected[name]), expected[name], FLOAT64)


def _check_rendering(run: Run, expected: Mapping[str, np.ndarray], report: Report) -> None:
    scene, depth = run.encoded.scene, run.rendering.depth
    origins, directions = run.targets.rays(*depth.shape[1:])
    origins = origins[:, None, None].expand_as(directions).reshape(-1, 3)
    samples = place_coarse_samples(scene.tables(), scene.space, scene.sampling, origins, directions.reshape(-1, 3))
    argmax = heaviest_interval(scene.tables(), scene.sampling, *samples).squeeze(1)
    report.add('render_argmax', argmax, expected['render_argmax'], EQUAL)
    report.add('render_depth', depth[:, None], expected['render_depth'], FLOAT64)
    if 'composite_sub' in expected:
        sub = expected['composite_sub']
        report.add('composite_sub', thinned(run.composite, sub), sub, FLOAT64)
    report.add('recons', thinned(run.recons, expected['recons']), expected['recons'], FLOAT64)


def _check_gradients(run: Run, expected: Mapping[str, np.ndarray], report: Report) -> None:
    """Check losses A, C and F: through everything, into the coarse depth and into the fine depth."""
    losses = run.losses()
    names, parameters = zip(*run.network.named_parameters(), strict=True)
    known = [name for name in losses if f'grad{name}_loss' in expected]
    for loss in known:
        terms = losses[loss]
        value = terms.sum()
        report.add(f'grad{loss}_loss', value, expected[f'grad{loss}_loss'], FLOAT64_SUM, terms=terms)
        gradients = torch.autograd.grad(value, parameters, retain_graph=loss != known[-1], allow_unused=True)
        found = dict(zip(map(published_name, names), gradients, strict=True))
        sizes = {published_name(name): parameter.numel() for name, parameter in zip(names, parameters, strict=True)}
        stored = _stored_gradients(expected, loss, sizes)
        ours = {name: _summary(found.get(name), name, len(numbers), expected) for name, numbers in stored.items()}
        report.add_errors(
            f'grad{loss} of all parameters', ours, stored, FLOAT64, _gradient_errors, torch.finfo(torch.float64).eps
        )


def _stored_gradients(expected: Mapping[str, np.ndarray], loss: str, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Collect norm, sum / sqrt(size), a random projection and some elements of every parameter's gradient."""
    stored = {}
    for name, summary in zip(expected['grad_param_names'].tolist(), expected[f'grad{loss}_summary'], strict=True):
        # The sum of n numbers is as large as their norm times the square root of n. Variants that render
        # features have no decoder here, and zeros are stored for its gradient.
        scales = np.array([1, np.sqrt(sizes.get(name, 1)), 1])
        stored[name] = np.concatenate([summary / scales, expected.get(f'grad{loss}/{name}', [])])
    return stored


def _summary(gradient: Tensor | None, name: str, count: int, expected: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute the same ``count`` numbers of our gradient."""
    if gradient is None:
        return np.zeros(count)
    flat = gradient.flatten().double().cpu().numpy()
    elements = flat[:: int(expected[f'grad_stride/{name}'])] if count > 3 else []
    projection = flat @ normal_by_name(f'gradsum:{name}', flat.shape)
    return np.concatenate([[np.linalg.norm(flat), flat.sum() / np.sqrt(flat.size), projection], elements])


def _gradient_errors(ours: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return every parameter's greatest error, relative to the norm of its gradient."""
    errors = []
    for name, stored in expected.items():
        if stored[0] >= NO_GRADIENT:
            errors.append(np.abs(ours[name] - stored).max() / stored[0])
        elif ours[name][0] >= NO_GRADIENT:
            errors.append(np.inf)
    return np.array(errors)
