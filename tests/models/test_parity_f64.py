"""The network end to end in float64 against the published float64 vectors (parity notes, section 8b).

Every cell and every heaviest interval must be the same one; numbers and gradients must agree to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import normal_by_name, parity_views, rule_network
from torch import Tensor

from projects.DistillNeRF.models.network import DistillNeRF, Encoded
from projects.DistillNeRF.models.published import published_name
from projects.DistillNeRF.models.scene import Rendering, Scene
from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.modules.pooling import candidate_positions, pool_views
from projects.DistillNeRF.modules.renderer import read, rows_along
from projects.DistillNeRF.modules.volume_rendering import march

# The network amplifies rounding by some hundreds forwards and by 1e5 to 1e6 backwards (section 11), and the group norm
# of channels-last maps adds to it. Measured worst: 7e-10 of the mean size, gradients 3e-10 of their norm.
BOUND = 1e-8
GRADIENT_BOUND = 3e-9
VARIANTS = ('model', 'model_linearspace', 'model_linearspace_foundation_feature')


@dataclass
class Run:
    """One variant, computed once: what the vectors hold and what the network makes."""

    expected: dict[str, np.ndarray]
    network: DistillNeRF
    encoded: Encoded
    rendering: Rendering
    cameras: Cameras
    targets: Cameras
    coarse_logits: Tensor
    scores: Tensor


def render(scene: Scene, cameras: Cameras, classes: np.ndarray) -> Rendering:
    """One rendering in which every camera has its own class."""
    parts = [scene.render(cameras[i : i + 1], camera_class=int(c)) for i, c in enumerate(classes)]
    return Rendering(*(torch.cat([getattr(part, name) for part in parts]) for name in Rendering.__dataclass_fields__))


@pytest.fixture(scope='module', params=VARIANTS)
def run(request, shared_dir: Path) -> Iterator[Run]:
    with np.load(shared_dir / f'parity/public/f64_{request.param}.npz') as archive:
        expected = dict(archive)
    classes = np.load(shared_dir / 'parity/public/inputs.npz')['target_cam_classes']
    network = rule_network(shared_dir, request.param, torch.float64)
    inputs = parity_views(shared_dir, torch.float64)
    targets = parity_views(shared_dir, torch.float64, target=True).cameras
    kept: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda *call: kept.append(call[-1]))
        for module in (network.coarse_net.head, network.fine_net.scorer)
    ]
    encoded = network.encode([inputs])[0]
    for hook in hooks:
        hook.remove()
    yield Run(expected, network, encoded, render(encoded.scene, targets, classes), inputs.cameras, targets, *kept)


def assert_close(ours: Tensor, expected: np.ndarray, bound: float) -> None:
    """Greatest difference below ``bound`` times the mean size."""
    assert ours.shape == expected.shape
    error = np.abs(ours.detach().numpy() - expected).max() / np.abs(expected).mean()
    assert error < bound


def test_encoder(run: Run):
    expected, coarse, fine = run.expected, run.encoded.coarse, run.encoded.fine
    assert_close(coarse.depth, expected['coarse_depth'], BOUND)
    assert_close(fine.depth, expected['fine_depth'], BOUND)
    if 'coarse_bin_edges' not in expected:
        return
    assert_close(run.network.space.bin_edges(coarse.depth), expected['coarse_bin_edges'], BOUND)
    logits = run.coarse_logits.permute(0, 2, 3, 1).flatten(0, 2)
    assert_close(logits[::64], expected['coarse_logit_preclamp_sub'], BOUND)
    assert_close(coarse.features[:, :, ::4, ::4], expected['monodepthfeat_sub'], BOUND)
    assert_close(fine.features[:, :, ::4, ::4], expected['imgfeat_sub'], BOUND)
    scores = run.scores.permute(0, 3, 1, 2)
    assert_close(scores[:, :, ::2, ::2], expected['fine_logit_pre_sigmoid_sub'], BOUND)


def test_voxels(run: Run):
    expected, scene, fine = run.expected, run.encoded.scene, run.encoded.fine
    assert [scene.grid.num_coarse, scene.grid.num_fine] == expected['num_voxels_7_9'].tolist()
    if 'voxels9' not in expected:
        return
    np.testing.assert_array_equal(scene.grid.cells(7), expected['voxels7'])
    np.testing.assert_array_equal(scene.grid.cells(9), expected['voxels9'])
    # Published points are ordered camera, candidate, row, column.
    positions = candidate_positions(run.cameras, fine.candidates).permute(0, 3, 1, 2, 4)
    positions = run.network.space.contract(positions.reshape(-1, 3))
    assert_close(positions[::11], expected['param_coord_sub'], BOUND)
    _, pooled, pooled_fine = pool_views(run.cameras, fine, run.network.space, 7, 9)
    assert_close(pooled[::64], expected['pooled7_sub'], BOUND)
    assert_close(pooled_fine[::64], expected['pooled9_sub'], BOUND)
    assert_close(scene.coarse[::16], expected['convout7_sub'], BOUND)


def test_heaviest_intervals(run: Run):
    scene, tables = run.encoded.scene, run.encoded.scene.tables()
    origins, directions = run.targets.rays(16, 28)
    directions = directions.reshape(-1, 3)
    origins = origins.repeat_interleave(16 * 28, dim=0)
    edges = scene.space.bin_edges(origins)
    mids = ((edges[1:] + edges[:-1]) / 2).expand(len(origins), -1)
    logits = read(tables.logits, rows_along(scene.grid, scene.space, origins, directions, mids))
    np.testing.assert_array_equal(march(logits, mids, 'exp').argmax(1), run.expected['render_argmax'])


def test_rendering(run: Run):
    expected, image = run.expected, run.rendering.image
    assert_close(run.rendering.depth[:, None], expected['render_depth'], BOUND)
    if run.network.head.renders == 'features':
        assert_close(image[:, :, ::2, ::2].permute(0, 2, 3, 1)[None], expected['recons'], BOUND)
    else:
        assert_close(image, expected['recons'], BOUND)


def test_gradients(run: Run):
    """Losses A, C and F of section 8: through everything, into the coarse and into the fine depth."""

    def cotangent(name: str, like: Tensor) -> Tensor:
        return torch.from_numpy(normal_by_name(name, tuple(like.shape))).double()

    image = run.rendering.image
    if run.network.head.renders == 'features':
        image = image.permute(0, 2, 3, 1)[None]
    depth = run.rendering.depth[:, None]
    coarse, fine = run.encoded.coarse.depth, run.encoded.fine.depth
    losses = {
        'A': (image * cotangent('grad_recons', image)).sum() + (depth * cotangent('grad_depth', depth)).sum(),
        'C': (coarse * cotangent('grad_coarse_depth', coarse)).sum(),
        'F': (fine * cotangent('grad_fine_depth', fine)).sum(),
    }
    names, parameters = zip(*run.network.named_parameters(), strict=True)
    published = [published_name(name) for name in names]
    known = [name for name in losses if f'grad{name}_loss' in run.expected]
    for loss in known:
        value = run.expected[f'grad{loss}_loss']
        assert losses[loss].item() == pytest.approx(float(value), rel=BOUND)
        gradients = torch.autograd.grad(losses[loss], parameters, retain_graph=loss != known[-1], allow_unused=True)
        found = dict(zip(published, gradients, strict=True))
        order = run.expected['grad_param_names'].tolist()
        for name, summary in zip(order, run.expected[f'grad{loss}_summary'], strict=True):
            assert_same_gradient(found.get(name), summary, run.expected, loss, name)


def assert_same_gradient(
    gradient: Tensor | None, summary: np.ndarray, expected: dict[str, np.ndarray], loss: str, name: str
) -> None:
    """Norm, sum and random projection of a parameter's gradient, and the stored elements of some parameters."""
    norm = summary[0]
    if norm < 1e-6:
        # Not reached by the loss, or a bias before a norm, whose true gradient is zero.
        assert gradient is None or gradient.norm() < 1e-6, name
        return
    flat = gradient.flatten().numpy()
    direction = normal_by_name(f'gradsum:{name}', flat.shape)
    ours = np.array([np.linalg.norm(flat), flat.sum(), flat @ direction])
    scale = norm * np.array([1, np.sqrt(flat.size), 1])
    assert (np.abs(ours - summary) < GRADIENT_BOUND * scale).all(), name
    if f'grad{loss}/{name}' in expected:
        elements = flat[:: int(expected[f'grad_stride/{name}'])]
        assert np.abs(elements - expected[f'grad{loss}/{name}']).max() < GRADIENT_BOUND * norm, name
