"""Small networks and what they are trained on."""

from __future__ import annotations

import torch

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.wrapper import Batch, DistillNeRFModel
from tests.helpers.cameras import random_cameras
from tests.helpers.views import make_views

# Its inputs have frozen depth features of 6 channels: ``tests.helpers.views.random_views``.
SMALL = {
    'levels': (3, 5),
    'channels': 4,
    'space': {'inner_range': 10, 'inner_range_z': 4, 'step': 1.0, 'far': 30},
    'coarse': {'width': 4, 'channels': 8, 'blocks': (1, 1, 1, 1), 'depth_channels': 6},
    'fine': {'width': 4, 'hidden': 8, 'blocks': (1, 1, 1, 1), 'num_candidates': 5},
    'voxel': {'width': 8, 'num_layers': 1},
    'sampling': {'fine_samples': 4},
    'head': {'width': 32, 'num_layers': 2},
}
# Smaller still, and without them.
TINY = {
    'space': {'inner_range': 10, 'inner_range_z': 4, 'step': 2.0, 'far': 30},
    'levels': (3, 5),
    'channels': 4,
    'coarse': {'width': 4, 'channels': 8, 'blocks': (1, 1, 1, 1), 'depth_channels': None},
    'fine': {'width': 4, 'hidden': 4, 'blocks': (1, 1, 1, 1), 'num_candidates': 3},
    'voxel': {'width': 4, 'num_layers': 1},
    'sampling': {'fine_samples': 4},
    'head': {'width': 32, 'num_layers': 2},
}
LOSSES = {
    'rgb': {'type': 'RGBL1Loss'},
    'lidar_depth': {'type': 'DepthClampLoss'},
    'weight_entropy': {'type': 'WeightEntropyLoss'},
    'opacity': {'type': 'OpacityLoss'},
}


def small_network(**changes: object) -> DistillNeRF:
    """Return a network of the settings ``SMALL`` with ``changes``, float64, always of the same weights."""
    torch.manual_seed(0)
    return DistillNeRF(**{**SMALL, **changes}).double()


def tiny_model(losses: dict | None = None, **network: object) -> DistillNeRFModel:
    """Return a model of the settings ``TINY``, changed by ``network``, always of the same weights."""
    torch.manual_seed(0)
    return DistillNeRFModel({**TINY, **network}, LOSSES if losses is None else losses)


def lidar_views(count: int, seed: int, lidar: bool = True) -> Views:
    """Return views of 16 x 24 pixels to all sides; their LiDAR depths are 5 to 15 m or, without ``lidar``, unknown."""
    generator = torch.Generator().manual_seed(seed)
    cameras = random_cameras(count, 16, 24, generator, focal=20.0, center=(12, 8), apart=False, dtype=torch.float32)
    depth = 5 + 10 * torch.rand(count, 8, 12, generator=generator)
    images = torch.rand(count, 3, 16, 24, generator=generator)
    return make_views(cameras, images, lidar_depth=depth if lidar else torch.full_like(depth, torch.nan))


def make_batch(*counts: int, lidar: bool = True) -> Batch:
    """Return a batch of one sample per number of cameras; targets are the inputs."""
    views = [lidar_views(count, seed, lidar) for seed, count in enumerate(counts)]
    return {'input_views': views, 'target_views': views}
