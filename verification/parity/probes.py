"""Outputs of single layers under their published names (``probe/<layer>``, docs/NETWORK.md#vectors)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

from projects.DistillNeRF.modules.layers import instance_norm, leaky_relu_
from verification.parity.comparison import BOTTOM, Bounds, Report

# Published layer -> our module, and what still has to be done to its output (activations are functions here).
Layer = tuple[str, Callable[[Tensor], Tensor]]


# Where norms run over the fewest positions, and what reads them directly.
BOTTOM_LAYERS = ('.layer4', '.layer5', '.toplayer', '.latlayer0')


def _as_is(x: Tensor) -> Tensor:
    return x


def _pyramid(published: str, ours: str) -> dict[str, Layer]:
    layers = {
        'conv1': ('stem', _as_is),
        'bn1': ('stem', instance_norm),
        'layer1.0': ('stages.0.0', _as_is),
        **{f'layer{i + 1}': (f'stages.{i}', _as_is) for i in range(5)},
        'toplayer': ('top', _as_is),
        **{f'latlayer{i}': (f'laterals.{i}', leaky_relu_) for i in range(4)},
        'feat_final': ('final', leaky_relu_),
    }
    return {f'{published}.{name}': (f'{ours}.{module}', then) for name, (module, then) in layers.items()}


ENCODER_LAYERS: dict[str, Layer] = {
    **_pyramid('coarse', 'coarse_net.pyramid'),
    'coarse.depth_feature_combiner.combiner.0': ('coarse_net.combiner.mix.0', _as_is),
    'coarse.depth_feature_combiner.combiner': ('coarse_net.combiner.mix', _as_is),
    'coarse.depth_feature_combiner.parameter_layer': ('coarse_net.combiner.residual', instance_norm),
    'coarse.depth_feature_combiner.last_layer': ('coarse_net.combiner.final', leaky_relu_),
    'coarse.depthnet.0': ('coarse_net.head.0', _as_is),
    **_pyramid('fine', 'fine_net.pyramid'),
    'fine.combiner': ('fine_net.combiner', _as_is),
    'fine.featnet': ('fine_net.feature_head', _as_is),
    'fine.depthnet': ('fine_net.depth_head', _as_is),
    'fine.depth_feat_normalize': ('fine_net.scorer.feature_norm', _as_is),
    'fine.feature_predictor': ('fine_net.scorer', lambda scores: scores.permute(0, 3, 1, 2)[:, None]),
}
VOXEL_LAYERS: dict[str, Layer] = {
    'octree.init_conv.0': ('voxel_net.fine_in', leaky_relu_),
    'octree.processing_layers.0': ('voxel_net.fine_layers.0', _as_is),
    'octree.processing_layers.1': ('voxel_net.fine_layers.1', _as_is),
    'octree.init_conv.1': ('voxel_net.coarse_in', leaky_relu_),
    'octree.downsample_layers.0': ('voxel_net.down', leaky_relu_),
    'octree.processing_layers.2': ('voxel_net.coarse_layers.0', _as_is),
    'octree.processing_layers.3': ('voxel_net.coarse_layers.1', _as_is),
    'octree.output_head': ('voxel_net.out', _as_is),
}
DECODER_LAYERS: dict[str, Layer] = {
    'decoder.conv1': ('head.decoder.first', leaky_relu_),
    **{f'decoder.convs.{i}': (f'head.decoder.convs.{i}', _as_is) for i in range(4)},
    'decoder.last_conv': ('head.decoder.last', _as_is),
}


@contextmanager
def outputs_of(network: nn.Module, layers: Mapping[str, Layer]) -> Iterator[dict[str, Tensor]]:
    """Collect, inside the block, the outputs of the layers' modules under their published names."""
    found: dict[str, Tensor] = {}

    def keep(name: str, then: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            found[name] = then(output.detach().clone())

        return hook

    hooks = [
        network.get_submodule(module).register_forward_hook(keep(name, then)) for name, (module, then) in layers.items()
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def check_probes(
    found: Mapping[str, Tensor], expected: Mapping[str, np.ndarray], report: Report, bounds: Bounds
) -> None:
    """Check strided elements of the layers' outputs."""
    for name, output in found.items():
        if f'probe/{name}' in expected:
            stride = int(expected[f'probe_stride/{name}'])
            report.add(
                f'probe/{name}',
                output.flatten()[::stride],
                expected[f'probe/{name}'],
                BOTTOM if name.endswith(BOTTOM_LAYERS) else bounds,
            )
