"""Single functions of the network on stored inputs (docs/NETWORK.md#vectors)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from projects.DistillNeRF.geometry.contraction import ParameterizedSpace, contract, expand
from projects.DistillNeRF.models.conversion import published_name, published_settings
from projects.DistillNeRF.modules.decoder import ColorDecoder, StyledConv
from projects.DistillNeRF.modules.heads import ColorHead
from projects.DistillNeRF.modules.layers import Bottleneck
from projects.DistillNeRF.modules.renderer import VoxelTables, gather_rows
from projects.DistillNeRF.modules.segments import segment_offsets, weighted_segment_sum
from projects.DistillNeRF.modules.sparse_conv import SparseConv, build_maps
from projects.DistillNeRF.modules.volume_rendering import alpha_weights, expected_depth, render_intervals
from projects.DistillNeRF.modules.voxels import VoxelGrid, morton_encode, point_codes
from verification.parity.comparison import DEEP, EQUAL, ROUNDING, SHALLOW, Report
from verification.parity.conditioning import exact
from verification.parity.weights import normal_by_name, rule_weight
from verification.reference.kernels import octree_arrays

Arrays = Mapping[str, Tensor]


def check_space(unit: Arrays, report: Report) -> None:
    """Check ``transform/*`` and ``catdepth/*``."""
    for inner, ratio in ((50, 0.8), (6.4, 0.8), (50, 0.999), (15, 0.999)):
        for name, function, argument in (('x_to_s', contract, 'x'), ('s_to_x', expand, 's')):
            key = f'transform/{name}_{inner}_{ratio}'
            report.add(key, function(unit[f'transform/{argument}'], inner, ratio), unit[key], ROUNDING)
    for variant in ('model', 'model_linearspace'):
        space = ParameterizedSpace(**published_settings(variant)['space'])
        for stride in (1, 2):
            edges = space.bin_edges(unit['transform/x'], stride)
            start, end = edges[:-1], edges[1:]
            values = {'edges': edges, 'start': start, 'end': end, 'mid': (start + end) / 2, 'delta': end - start}
            for name, value in values.items():
                key = f'catdepth/{variant}_ratio{stride}_{name}'
                # Differences of neighboring edges lose digits.
                report.add(key, value, unit[key], SHALLOW if name == 'delta' else ROUNDING)


def check_volume_rendering(unit: Arrays, report: Report) -> None:
    """Check ``volume_render/*``, and ``marcher/*`` with its gradients."""
    depth, weights = render_intervals(unit['volume_render/density'], unit['volume_render/edges'], dim=-1)
    report.add('volume_render/depth', depth[:, None], unit['volume_render/depth'], SHALLOW)
    report.add('volume_render/weights', weights, unit['volume_render/weights'], SHALLOW)
    logits, depths = (unit[f'marcher/{name}'][0, ..., 0] for name in ('density_logit', 'depths'))
    middle_depths = (depths[:, 1:] + depths[:, :-1]) / 2
    for activation in ('exp', 'softplus', 'sigmoid'):
        weights = alpha_weights(logits, depths, activation)
        values = {
            'weights': weights[None, ..., None],
            'depth': expected_depth(weights, depths, far=50)[None, :, None],
            'rgb': _colors(unit['marcher/colors'], weights),
            'mid': middle_depths[None, ..., None],
        }
        for name, value in values.items():
            expected = unit[f'marcher/{activation}_{name}']
            report.add(f'marcher/{activation}_{name}', value.reshape(expected.shape), expected, DEEP)
    logits = logits.clone().requires_grad_()
    colors = unit['marcher/colors'].clone().requires_grad_()
    weights = alpha_weights(logits, depths, 'exp')
    depth = expected_depth(weights, depths, far=50)[None, :, None]
    loss = (_colors(colors, weights) * unit['marcher/exp_cotangent_rgb']).sum()
    (loss + (depth * unit['marcher/exp_cotangent_depth']).sum()).backward()
    report.add(
        'marcher/exp_grad_density_logit', logits.grad[None, ..., None], unit['marcher/exp_grad_density_logit'], DEEP
    )
    report.add('marcher/exp_grad_colors', colors.grad, unit['marcher/exp_grad_colors'], DEEP)


def _colors(colors: Tensor, weights: Tensor) -> Tensor:
    """Composite colors ``(1, rays, n, C)`` by weights ``(rays, n - 1)`` to ``(1, rays, C)``."""
    middle = (colors[:, :, 1:] + colors[:, :, :-1]) / 2
    return 2 * (weights[None, ..., None] * middle).sum(2) - 1


def check_octree(unit: Arrays, report: Report) -> None:
    """Check ``spc/*`` except its convolutions."""
    report.add('spc/morton', morton_encode(unit['spc/morton_in']), unit['spc/morton_out'], EQUAL)
    points, features = unit['spc/points'], unit['spc/features']
    for coarse, fine in ((2, 3), (3, 5), (7, 9)):
        with exact():
            codes = point_codes(points, fine)
        grid, of_point = VoxelGrid.build(codes, coarse, fine)
        bytes_, pyramid = octree_arrays(grid.fine_codes, fine)
        report.add(f'spc/octree_bytes_L{fine}', bytes_, unit[f'spc/octree_bytes_L{fine}'], EQUAL)
        report.add(f'spc/pyramid_L{fine}', pyramid, unit[f'spc/pyramid_L{fine}'], EQUAL)
        nodes, first = unit[f'spc/pyramid_L{fine}'][:, fine].tolist()
        report.add(f'spc/quantized_L{fine}', grid.cells(fine)[of_point.long()], unit[f'spc/quantized_L{fine}'], EQUAL)
        report.add(
            f'spc/hierarchy_L{fine}', grid.cells(fine), unit[f'spc/hierarchy_L{fine}'][first : first + nodes], EQUAL
        )
        rows = grid.rows(unit['spc/query_points'])
        # Published indices count through the nodes of all levels. The last two fifths of the stored queries are those
        # of level 9: at the other levels the stored answers belong to other points.
        known = len(rows) if fine == 9 else len(rows) * 3 // 5
        indices = torch.where(rows < grid.num_fine, rows + first, -1)
        report.add(f'spc/query_L{fine}', indices[:known], unit[f'spc/query_L{fine}'][:known], EQUAL)
        order, counts = torch.argsort(of_point), torch.bincount(of_point, minlength=nodes)
        ones = torch.ones(len(points), dtype=torch.float64, device=points.device)
        sums = weighted_segment_sum(features.double(), order, ones, segment_offsets(counts))
        report.add(f'spc/pooled_L{fine}', sums / counts[:, None], unit[f'spc/pooled_L{fine}'], ROUNDING)


def check_sparse_convolution(unit: Arrays, report: Report) -> None:
    """Check ``spc/conv_*``: values and gradients of the three jumps."""
    for jump in (0, 1, 2):
        level = 5 - jump
        grid, _ = VoxelGrid.build(morton_encode(unit['spc/conv_in_voxels']), level, 5)
        report.add(f'spc/conv_jump{jump}_voxels', grid.cells(level), unit[f'spc/conv_jump{jump}_voxels'], EQUAL)
        conv = SparseConv(6, 4)
        weight = rule_weight(f'unit.sparse_voxel_convnet.jump{jump}.weight', (27, 6, 4))
        conv.weight.data, conv.bias.data = map(torch.from_numpy, (weight, rule_weight(f'unit.jump{jump}.bias', (4,))))
        x = unit['spc/conv_in'].clone().requires_grad_()
        y = conv.to(x.device)(x, build_maps(grid, 5, level, channels=6))
        report.add(f'spc/conv_jump{jump}_out', y, unit[f'spc/conv_jump{jump}_out'], SHALLOW)
        y.backward(torch.from_numpy(normal_by_name(f'convct{jump}', tuple(y.shape))).to(y))
        for name, gradient in (('in', x.grad), ('weight', conv.weight.grad), ('bias', conv.bias.grad)):
            key = f'spc/conv_jump{jump}_grad_{name}'
            report.add(key, gradient, unit[key], SHALLOW)


def check_look_up(unit: Arrays, report: Report) -> None:
    """Check ``sample_*``: the voxels that samples look up."""
    for variant in ('model', 'model_linearspace'):
        arrays = {name: unit[f'sample_{variant}/{name}'] for name in ('voxels7', 'voxels9', 'feats7', 'feats9')}
        grid, _ = VoxelGrid.build(morton_encode(arrays['voxels9']), 7, 9)
        report.add(f'sample_{variant}/voxels7', grid.cells(7), arrays['voxels7'], EQUAL)
        report.add(f'sample_{variant}/voxels9', grid.cells(9), arrays['voxels9'], EQUAL)
        space = ParameterizedSpace(**published_settings(variant)['space'])
        tables = VoxelTables.build(grid, arrays['feats7'], arrays['feats9'], logit_bound=10, published_quirks=True)
        rows = grid.rows(space.contract(unit[f'sample_{variant}/query_world']))
        logits = unit[f'sample_{variant}/density_logit_clamped']
        report.add(
            f'sample_{variant}/density_logit_clamped', gather_rows(tables.logits, rows)[:, None], logits, ROUNDING
        )
        ones = logits.new_ones(len(rows), 1)
        colors = ColorHead(32, width=32).compositor(tables)(tables.hits(rows[:, None]), ones)
        # The last stored channel is the density logit before its clamp, not a color.
        features = unit[f'sample_{variant}/features'][:, :64]
        report.add(f'sample_{variant}/features', colors[:, :64], features, EQUAL)


def check_blocks(unit: Arrays, report: Report) -> None:
    """Check ``block/*``: one bottleneck and one styled norm."""
    block = Bottleneck(12, 20, stride=2)
    _load(block, lambda name: f'unit.bottleneck.{name.replace("shortcut.", "shortcut.0.")}')
    images = unit['block/bottleneck_in']
    report.add('block/bottleneck', block.to(images.device)(images), unit['block/bottleneck_out'], DEEP)
    layer = StyledConv(64, 32)
    nn.init.dirac_(layer.conv.weight)
    nn.init.zeros_(layer.conv.bias)
    _load(layer.style, lambda name: f'unit.adagn.style.{name}')
    styled = layer.to(images.device)(unit['block/adagn_in'], unit['block/adagn_style'])
    report.add('block/adagn', styled, F.leaky_relu(unit['block/adagn_out'], 0.2), DEEP)


def check_decoders(unit: Arrays, report: Report) -> None:
    """Check ``decoder_up<k>_layers<n>/*``."""
    for upsample, layers in ((0, 4), (1, 4), (2, 4), (0, 1)):
        group = f'decoder_up{upsample}_layers{layers}'
        decoder = ColorDecoder(9, width=64, num_layers=layers, num_upsample=upsample)
        _load(decoder, lambda name: published_name(f'head.decoder.{name}'))
        composites = unit[f'{group}/in'][0].permute(0, 3, 1, 2)
        image = decoder.to(composites.device)(composites, torch.tensor([1, 2], device=composites.device))
        report.add(f'{group}/out', image, unit[f'{group}/out'], DEEP)


def _load(module: nn.Module, published: Callable[[str], str]) -> None:
    """Load weights of the rule into a module whose parameters have these published names."""
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(rule_weight(published(name), shapes[name])) for name in shapes})


NETWORK_CHECKS: tuple[Callable[[Arrays, Report], None], ...] = (
    check_space,
    check_volume_rendering,
    check_octree,
    check_sparse_convolution,
    check_look_up,
    check_blocks,
    check_decoders,
)
