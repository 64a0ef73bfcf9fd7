"""Weights made from their published names (docs/NETWORK.md#weights-rule)."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.models.conversion import published_name, published_settings
from projects.DistillNeRF.models.network import DistillNeRF

# Gain and shift of the names that are rescaled, so that depths spread and the clamps are exercised.
GAINS = {
    'coarse_monodepth_estimator.depthnet.2.weight': (2, 0),
    'coarse_monodepth_estimator.depthnet.2.bias': (1, -18),
    'fine_mono_depth_estimator.featnet.2.weight': (4, 0),
    'fine_mono_depth_estimator.feature_predictor.6.weight': (2, 0),
    'multi_view_pooling_octree_encoder.sparse_voxel_convnet.output_head.conv.weight': (4, 0),
}


def normal_by_name(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the random float32 tensor that belongs to a name."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def rule_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Make a parameter from its published name."""
    values = normal_by_name(name, shape)
    if len(shape) > 1:
        sparse = len(shape) == 3 and 'sparse_voxel_convnet.' in name and name.endswith('weight')
        fan_in = 27 * shape[1] if sparse else int(np.prod(shape[1:]))
        std = 1.0 if name == 'decoder.cam_emb.weight' else 1 / np.sqrt(fan_in)
    else:
        std = 0.1
    values = values * np.float32(std)
    if len(shape) == 1 and not name.endswith('.bias'):
        values = values + np.float32(1)
    if name in GAINS:
        gain, shift = GAINS[name]
        values = values * np.float32(gain) + np.float32(shift)
    return values


def rule_state(network: DistillNeRF) -> dict[str, Tensor]:
    """Make all parameters of a network from their published names.

    Published shapes differ from ours in singleton dimensions only, and the rule does not see those, but for the sparse
    convolutions, whose shapes are the published ones.
    """
    state = network.state_dict()
    return {name: torch.from_numpy(rule_weight(published_name(name), tuple(x.shape))) for name, x in state.items()}


def rule_network(variant: str, dtype: torch.dtype) -> DistillNeRF:
    """Build the network of a published variant with the weights of the rule."""
    network = DistillNeRF(**published_settings(variant))
    network.load_state_dict(rule_state(network))
    return network.to(dtype).eval()


@lru_cache(maxsize=2)
def shared_rule_network(variant: str, dtype: torch.dtype, device: torch.device | None = None) -> DistillNeRF:
    """Return :func:`rule_network` on a device, the same object each time: it must not be changed."""
    return rule_network(variant, dtype).to(device)
