"""Every stage in float32, fed with the stored inputs of that stage (docs/NETWORK.md#vectors).

Where only a part of an input is stored, the stage is fed with ours, which an earlier row has compared with that part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.coarse_depth import CoarseDepth
from projects.DistillNeRF.modules.fine_depth import FineDepth
from projects.DistillNeRF.modules.pooling import candidate_positions, pool_points
from projects.DistillNeRF.modules.voxels import morton_decode, point_codes
from verification.parity.comparison import DEEP, EQUAL, EXPONENTIAL, SHALLOW, Report
from verification.parity.conditioning import exact
from verification.parity.probes import ENCODER_LAYERS, VOXEL_LAYERS, check_probes, outputs_of
from verification.parity.vectors import Vectors, thinned
from verification.parity.weights import shared_rule_network
from verification.reference.kernels import octree_arrays


@dataclass(frozen=True)
class Stored:
    """The arrays of a variant; a stage takes them where they are whole."""

    arrays: Mapping[str, np.ndarray]

    def or_ours(self, name: str, ours: Tensor) -> Tensor:
        """Return the stored array if it is whole, else ``ours``."""
        array = self.arrays.get(name)
        if array is None or array.shape != tuple(ours.shape):
            return ours
        return torch.from_numpy(array).to(ours)

    @property
    def features_are_whole(self) -> bool:
        """Return whether all that follows the fine net starts from stored numbers alone."""
        return self.arrays['fine/imgfeat'].shape[2:] == self.arrays['fine/depth'].shape[1:]


def check_encoder(vectors: Vectors, variant: str, report: Report) -> tuple[Scene, bool]:
    """Check the coarse net, the fine net, lifting, pooling and the sparse network.

    Returns:
        the scene for rendering, and whether it is made of stored numbers alone.
    """
    stored = Stored(vectors.arrays(variant))
    network = shared_rule_network(variant, torch.float32, vectors.device)
    views = vectors.views(torch.float32)
    with torch.no_grad(), outputs_of(network, ENCODER_LAYERS) as found:
        edges = network.space.bin_edges(views.images)
        logits = {}
        hook = network.coarse_net.head.register_forward_hook(lambda *call: logits.update(coarse=call[-1]))
        images = views.images.contiguous(memory_format=torch.channels_last)
        coarse = network.coarse_net(images, views.depth_features, edges)
        hook.remove()
        coarse_found = dict(found)
        _check_coarse(coarse, edges, logits['coarse'], stored.arrays, report)
        coarse = replace(
            coarse,
            depth=stored.or_ours('coarse/depth', coarse.depth),
            features=stored.or_ours('coarse/monodepthfeat', coarse.features),
        )
        fine = network.fine_net(images, coarse)
    check_probes({**coarse_found, **found}, stored.arrays, report, DEEP)
    with torch.no_grad():
        fine = _check_fine(fine, found['fine.feature_predictor'][:, 0], stored, report)
        scene = _check_voxels(network, views.cameras, fine, stored, report)
    whole = len(stored.arrays['octree/convout7']) == scene.grid.num_coarse
    return scene, whole and stored.features_are_whole


def _check_coarse(
    coarse: CoarseDepth, edges: Tensor, logits: Tensor, expected: Mapping[str, np.ndarray], report: Report
) -> None:
    report.add('coarse/bin_start', edges[:-1], expected['coarse/bin_start'], SHALLOW)
    report.add('coarse/bin_end', edges[1:], expected['coarse/bin_end'], SHALLOW)
    report.add('coarse/bin_mid', (edges[:-1] + edges[1:]) / 2, expected['coarse/bin_mid'], SHALLOW)
    for name, values, bound in (
        ('coarse/monodepthfeat', coarse.features, DEEP),
        ('coarse/density_logit_preclamp_sub', logits.permute(0, 2, 3, 1).flatten(0, 2), DEEP),
        ('coarse/weights_sub', coarse.weights.flatten(0, 2), EXPONENTIAL),
        ('coarse/depth', coarse.depth, EXPONENTIAL),
    ):
        report.add(name, thinned(values, expected[name]), expected[name], bound)


def _check_fine(fine: FineDepth, scores: Tensor, stored: Stored, report: Report) -> FineDepth:
    """Check the fine net; return its output, replaced by the stored arrays where they are whole."""
    expected = stored.arrays
    candidates = fine.candidates.permute(0, 3, 1, 2)
    for name, values, bound in (
        ('fine/depth_candidates', candidates, SHALLOW),
        ('fine/candidates_mid', (candidates[:, 1:] + candidates[:, :-1]) / 2, SHALLOW),
        ('fine/imgfeat', fine.features, DEEP),
        ('fine/density_logit_pre_sigmoid', scores, DEEP),
        ('fine/weights_mid', fine.weights.permute(0, 3, 1, 2), EXPONENTIAL),
        ('fine/depth', fine.depth, EXPONENTIAL),
    ):
        report.add(name, thinned(values, expected[name]), expected[name], bound)
    occupancy = torch.sigmoid(stored.or_ours('fine/density_logit_pre_sigmoid', scores).permute(0, 2, 3, 1))
    fine = replace(
        fine,
        candidates=stored.or_ours('fine/depth_candidates', candidates).permute(0, 2, 3, 1),
        occupancy=occupancy,
        logits=(2 * occupancy - 1) * 30,
        features=stored.or_ours('fine/imgfeat', fine.features),
    )
    # Published points are ordered camera, candidate, row, column.
    lifted = torch.cat(
        [occupancy[..., None] * fine.features.permute(0, 2, 3, 1)[:, :, :, None], fine.logits[..., None]], dim=-1
    )
    lifted = lifted.permute(0, 3, 1, 2, 4).flatten(0, 3)
    bounds = SHALLOW if stored.features_are_whole else DEEP
    report.add('fine/lifted_sub', thinned(lifted, expected['fine/lifted_sub']), expected['fine/lifted_sub'], bounds)
    return fine


def _check_voxels(network: DistillNeRF, cameras: Cameras, fine: FineDepth, stored: Stored, report: Report) -> Scene:
    expected = stored.arrays
    n, height, width, count = fine.candidates.shape
    world = candidate_positions(cameras, fine.candidates)
    flat = world.permute(0, 3, 1, 2, 4).reshape(-1, 3)
    report.add(
        'octree/world_coord', thinned(flat, expected['octree/world_coord']), expected['octree/world_coord'], SHALLOW
    )
    points = network.space.contract(flat)
    report.add('octree/param_coord', points, expected['octree/param_coord'], SHALLOW)
    points = stored.or_ours('octree/param_coord', points).view(n, count, height, width, 3).permute(0, 2, 3, 1, 4)
    grid, pooled, pooled_fine = pool_points(_cell_centers(points.reshape(-1, 3), 9), fine, 7, 9)
    for level, codes, values in ((7, grid.coarse_codes, pooled), (9, grid.fine_codes, pooled_fine)):
        bytes_, pyramid = octree_arrays(codes, level)
        report.add(f'octree/voxels{level}', grid.cells(level), expected[f'octree/voxels{level}'], EQUAL)
        report.add(f'octree/bytes{level}', bytes_, expected[f'octree/bytes{level}'], EQUAL)
        report.add(f'octree/pyramid{level}', pyramid, expected[f'octree/pyramid{level}'], EQUAL)
        name = f'octree/pooled{level}_sub'
        bounds = SHALLOW if stored.features_are_whole else DEEP
        report.add(name, thinned(values, expected[name]), expected[name], bounds)
    with outputs_of(network, VOXEL_LAYERS) as found:
        processed = network.voxel_net(pooled, pooled_fine, grid)
    check_probes(found, expected, report, DEEP)
    report.add('octree/convout7', thinned(processed, expected['octree/convout7']), expected['octree/convout7'], DEEP)
    return network.scene(grid, stored.or_ours('octree/convout7', processed), pooled_fine)


def _cell_centers(points: Tensor, level: int) -> Tensor:
    """Move points ``(P, 3)`` to the centers of their cells, which rounding cannot change then."""
    with exact():
        return (morton_decode(point_codes(points, level)) + 0.5).to(points.dtype) * 2.0 ** (1 - level) - 1
