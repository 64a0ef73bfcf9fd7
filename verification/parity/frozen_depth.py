"""The frozen depth network in float32 against ``depth_anything.npz`` (docs/NETWORK.md#frozen-depth-network)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from projects.DistillNeRF.modules.depth_anything import DepthAnything, DPTHead, load_depth_anything, network_size
from verification.parity.comparison import DEEP, EQUAL, SHALLOW, Report
from verification.parity.units import Arrays
from verification.parity.vectors import Vectors, thinned
from verification.parity.weights import rule_weight

NAME = 'depth_anything'
PREFIX = 'mono_depth_pretained_model.model.'


def rule_depth_anything() -> DepthAnything:
    """Build the network with the weights of the rule."""
    with torch.device('meta'):
        shapes = {name: tuple(value.shape) for name, value in DepthAnything().state_dict().items()}
    return load_depth_anything({name: torch.from_numpy(rule_weight(PREFIX + name, shapes[name])) for name in shapes})


@torch.no_grad()
def check_depth_anything(vectors: Vectors, report: Report) -> None:
    """Check every stored layer, the depth map and the frozen-depth features."""
    expected = vectors.arrays(NAME)
    network = rule_depth_anything().to(vectors.device)
    images = torch.from_numpy(expected['img']).to(vectors.device)
    x = network.preprocess(images)
    rows, columns = (side // network.pretrained.patch for side in x.shape[-2:])
    transformer, scratch = network.pretrained, network.depth_head.scratch
    found = {'patch_embed': transformer.patch_embed(x), 'pos_encoding': transformer.positions(rows, columns)}
    layers = {f'block{i}': transformer.blocks[i] for i in (0, 5, 11)}
    layers |= {name: getattr(scratch, name) for name in ('layer1_rn', 'layer4_rn', 'refinenet4', 'refinenet1')}
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: output}))
        for name, layer in layers.items()
    ]
    feature = network(images)
    for hook in hooks:
        hook.remove()
    depth = network.depth_head.depth(found['refinenet1'], rows, columns)
    # Published: resized once more to its own size, then cut at zero.
    found['depth'] = F.relu(depth)[:, 0]
    for name, values in found.items():
        if f'probe/{name}' in expected:
            stride = int(expected[f'probe_stride/{name}'])
            report.add(f'probe/{name}', values.flatten()[::stride], expected[f'probe/{name}'], DEEP)
    report.add('feature', thinned(feature, expected['feature']), expected['feature'], DEEP)


def check_resizing(unit: Arrays, report: Report) -> None:
    """Check ``da/*``: sizes, and the resizing before and after the network."""
    sizes = unit['da/input_HW_to_resized_HW']
    ours = torch.tensor([network_size(height, width) for height, width in sizes[:, :2].tolist()])
    report.add('da/input_HW_to_resized_HW', ours, sizes[:, 2:], EQUAL)
    images = unit['da/pre_in']
    resized = DepthAnything.preprocess(images)
    expected = unit['da/pre_out_sub']
    steps = [-(-full // stored) for full, stored in zip(resized.shape[-2:], expected.shape[-2:], strict=True)]
    report.add('da/pre_out_sub', resized[..., :: steps[0], :: steps[1]], expected, SHALLOW)
    post = F.interpolate(
        unit['da/post_in'], size=unit['da/post_out'].shape[-2:], mode='bicubic', antialias=True, align_corners=False
    )
    report.add('da/post_out', post, unit['da/post_out'], SHALLOW)


# The vectors do not name the widths of the small head of ``da/head_*``; these give its numbers exactly.
SMALL_HEAD = {'width': 96, 'sizes': (12, 24, 48, 96), 'channels': 16}
SMALL_HEAD_PREFIX = 'unit.dpt.'


@torch.no_grad()
def check_head(unit: Arrays, report: Report) -> None:
    """Check ``da/head_*``: a small head on a grid of 3 x 5 tokens."""
    head = DPTHead(**SMALL_HEAD)
    rule = {name: rule_weight(SMALL_HEAD_PREFIX + name, tuple(x.shape)) for name, x in head.state_dict().items()}
    head.load_state_dict({name: torch.from_numpy(weight) for name, weight in rule.items()})
    rows, columns = 3, 5
    tokens = unit['da/head_tokens']
    feature = head.to(tokens.device)(tokens, rows, columns)
    report.add('da/head_feature', feature, unit['da/head_feature'], DEEP)
    depth = head.depth(feature, rows, columns)
    expected = unit['da/head_depth_sub']
    steps = [-(-full // stored) for full, stored in zip(depth.shape[-2:], expected.shape[-2:], strict=True)]
    report.add('da/head_depth_sub', depth[..., :: steps[0], :: steps[1]], expected, DEEP)
