"""The parity vectors: weights by rule, and the inputs as our objects (parity notes, sections 3 and 5)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.published import PUBLISHED_VARIANTS, published_name
from projects.DistillNeRF.modules.cameras import Cameras
from projects.DistillNeRF.modules.views import Views

GAINS = {
    'coarse_monodepth_estimator.depthnet.2.weight': (2, 0),
    'coarse_monodepth_estimator.depthnet.2.bias': (1, -18),
    'fine_mono_depth_estimator.featnet.2.weight': (4, 0),
    'fine_mono_depth_estimator.feature_predictor.6.weight': (2, 0),
    'multi_view_pooling_octree_encoder.sparse_voxel_convnet.output_head.conv.weight': (4, 0),
}


def normal_by_name(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The random tensor that belongs to a name."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def rule_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter made from its published name."""
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


def published_shapes(shared: Path, variant: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the trained parameters of a published checkpoint, without the ``model.`` prefix."""
    keys = json.loads((shared / 'parity/checkpoint_format.json').read_text())['yamls'][variant]['keys']
    return {name.removeprefix('model.'): tuple(shape) for name, (shape, _, kind) in keys.items() if kind == 'P'}


def rule_network(shared: Path, variant: str, dtype: torch.dtype) -> DistillNeRF:
    """The network of a published variant with the weights of the rule."""
    network = DistillNeRF(**PUBLISHED_VARIANTS[variant])
    shapes = published_shapes(shared, variant)
    state = {
        name: torch.from_numpy(rule_weight(published_name(name), shapes[published_name(name)])).view(value.shape)
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.to(dtype)


def parity_views(shared: Path, dtype: torch.dtype, target: bool = False) -> Views:
    """The input (or target) cameras of the public vectors; target images are not part of them (zeros)."""
    arrays = np.load(shared / 'parity/public/inputs.npz')
    prefix = 'target_' if target else ''

    def load(name: str) -> Tensor:
        return torch.from_numpy(arrays[name]).to(dtype)

    images = load('imgs')
    count = len(arrays[prefix + 'rots'])
    cam2world = torch.eye(4, dtype=dtype).repeat(count, 1, 1)
    cam2world[:, :3, :3] = load(prefix + 'rots')
    cam2world[:, :3, 3] = load(prefix + 'trans')
    height, width = images.shape[-2:]
    cameras = Cameras(load(prefix + 'post_rots') @ load(prefix + 'intrins'), cam2world, height, width)
    if target:
        images = images.new_zeros(count, 3, height, width)
    return Views(
        images,
        cameras,
        names=tuple(f'CAM_{i}' for i in range(count)),
        frames=(0,) * count,
        depth_features=None if target else load('depthanything_depth_feature'),
    )
