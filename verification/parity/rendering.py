"""Rendering and decoding in float32, fed with the stored scene (docs/NETWORK.md#rendering)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.modules.renderer import (
    RayRendering,
    gather_rows,
    heaviest_interval,
    place_coarse_samples,
    place_samples,
    render_rays,
)
from projects.DistillNeRF.modules.volume_rendering import alpha_weights
from verification.parity.comparison import DEEP, EXPONENTIAL, HEAVIEST, LOOK_UPS, RAYS, SHALLOW, Bounds, Report
from verification.parity.probes import DECODER_LAYERS, check_probes, outputs_of
from verification.parity.stages import Stored
from verification.parity.vectors import Vectors, stride_of, thinned
from verification.parity.weights import shared_rule_network


def scene_of_variant(scene: Scene, variant: str) -> Scene:
    """Return the scene of a variant with the same encoder, but with its own samples and head."""
    network = shared_rule_network(variant, torch.float32, scene.fine.device)
    return replace(scene, sampling=network.sampling, head=network.head)


@torch.no_grad()
def check_rendering(vectors: Vectors, variant: str, scene: Scene, stored: bool, report: Report) -> None:
    """Check rays, samples, look-ups, weights and composites, and the decoder on the stored composites.

    Args:
        stored: the scene is made of stored numbers; if not, of ours, which end a deep stack of convolutions.
    """
    along_rays = RAYS if stored else EXPONENTIAL
    expected = vectors.arrays(variant)
    targets = vectors.targets(torch.float32)
    height, width = expected['render/depth'].shape[-2:]
    origins, directions = targets.rays(height, width)
    origins, directions = origins[:, None, None].expand_as(directions).reshape(-1, 3), directions.reshape(-1, 3)
    report.add('render/ray_origin', origins, expected['render/ray_origin'], SHALLOW)
    report.add('render/ray_dir', directions, expected['render/ray_dir'], SHALLOW)
    _check_first_pass(scene, origins, directions, expected, along_rays, report)
    composite = scene.head.compositor(scene.tables())
    rays = render_rays(scene.tables(), scene.space, scene.sampling, composite, origins, directions)
    _check_rays(rays, expected, along_rays, report)
    composites = rays.composite.view(1, -1, height, width, rays.composite.shape[-1])
    composites = _check_thinned('render/composite_features', composites, expected, along_rays, report)
    report.add('render/depth', rays.depth.view(expected['render/depth'].shape), expected['render/depth'], along_rays)
    with outputs_of(scene.head, _inside_head(scene)) as found:
        image = scene.head(
            composites[0].permute(0, 3, 1, 2), torch.tensor(vectors.camera_classes, device=composites.device)
        )
    check_probes(found, expected, report, DEEP)
    if scene.head.renders == 'features':
        image = image.permute(0, 2, 3, 1)[None]
    _check_thinned('out/recons', image, expected, DEEP, report)


def _check_thinned(
    name: str, ours: Tensor, expected: Mapping[str, np.ndarray], bounds: Bounds, report: Report
) -> Tensor:
    """Compare where the array is stored; returns the stored one if it is whole, else ours."""
    report.add(name, thinned(ours, expected[name]), expected[name], bounds)
    return Stored(expected).or_ours(name, ours)


def _inside_head(scene: Scene) -> dict:
    if scene.head.renders == 'features':
        return {}
    return {name: (module.removeprefix('head.'), then) for name, (module, then) in DECODER_LAYERS.items()}


def _check_first_pass(
    scene: Scene,
    origins: Tensor,
    directions: Tensor,
    expected: Mapping[str, np.ndarray],
    along_rays: Bounds,
    report: Report,
) -> None:
    tables, grid = scene.tables(), scene.grid
    depths, rows = place_coarse_samples(tables, scene.space, scene.sampling, origins, directions)
    report.add('render/coarse_depths', depths[0], expected['render/coarse_depths'], SHALLOW)
    stride = stride_of(len(rows), len(expected['render/coarse_query7_sub']))
    some = rows[::stride]
    coarse = torch.arange(grid.num_coarse, dtype=torch.int32, device=grid.parents.device)
    parents = torch.cat([grid.parents, coarse, coarse.new_full((1,), -1)])
    report.add('render/coarse_query7_sub', parents[some.long()], expected['render/coarse_query7_sub'], LOOK_UPS)
    in_fine = torch.where(some < grid.num_fine, some, -1)
    report.add('render/coarse_query9_sub', in_fine, expected['render/coarse_query9_sub'], LOOK_UPS)
    weights = alpha_weights(gather_rows(tables.logits, rows), depths, scene.sampling.density_activation)
    report.add('render/coarse_weights_sub', weights[::stride], expected['render/coarse_weights_sub'], along_rays)
    argmax = heaviest_interval(tables, scene.sampling, depths, rows).squeeze(1)
    report.add('render/coarse_argmax', argmax, expected['render/coarse_argmax'], HEAVIEST)
    # The colors of single samples: each composited alone.
    chosen = rows[[0, len(rows) // 3, len(rows) // 2]]
    ones = origins.new_ones(chosen.numel(), 1)
    colors = scene.head.compositor(tables)(tables.hits(chosen.reshape(-1, 1)), ones)
    report.add(
        'render/sampled_features_rays',
        colors.view(*chosen.shape, -1),
        expected['render/sampled_features_rays'],
        DEEP,
    )
    _, rows = place_samples(tables, scene.space, scene.sampling, origins, directions, jitter=False)
    logits = gather_rows(tables.logits, rows)[::stride]
    report.add('render/all_density_logit_sub', logits, expected['render/all_density_logit_sub'], along_rays)


def _check_rays(rays: RayRendering, expected: Mapping[str, np.ndarray], along_rays: Bounds, report: Report) -> None:
    stride = stride_of(len(rays.depths), len(expected['render/all_depths_sub']))
    report.add('render/all_depths_sub', rays.depths[::stride], expected['render/all_depths_sub'], along_rays)
    report.add('render/weights_sub', rays.weights[::stride], expected['render/weights_sub'], along_rays)
    report.add('render/weights_sum', rays.opacity, expected['render/weights_sum'], along_rays)
