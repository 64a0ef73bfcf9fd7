"""Random scenes and the networks that are measured on them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.network import DistillNeRF
from verification.parity.weights import rule_network

SMALL_CONFIG = 'projects/DistillNeRF/configs/models/small.py'
# Name -> image size.
SIZES = {'published': (128, 228), 'small': (56, 100)}
FIELD_OF_VIEW = math.radians(65)
HEIGHT_ABOVE_LIDAR = -0.3
# So that the published network with the weights of the rule fills about as many cells with one camera as the original
# beside the timings of the published code (here 19,756 and 114,636, there 16,503 and 122,534).
NOISE_PIXELS = 32


def build_network(size: str) -> DistillNeRF:
    """Build the published ``model`` with the weights of the parity rule, whose depths spread, or the small one."""
    if size == 'published':
        return rule_network('model', torch.float32)
    torch.manual_seed(0)
    return DistillNeRF(**Config.fromfile(SMALL_CONFIG).model.network.to_dict())


def random_views(
    network: DistillNeRF, size: tuple[int, int], count: int, seed: int = 0, noise_pixels: int = NOISE_PIXELS
) -> Views:
    """Make images of smooth noise with a brighter upper quarter, seen by ``count`` cameras in a ring.

    The smaller ``noise_pixels``, the rougher the depths, and the more cells are filled.
    """
    generator = torch.Generator().manual_seed(seed)
    images = (0.5 + 0.2 * _smooth_noise(count, 3, size, noise_pixels, generator)).clamp(0, 1)
    images[:, :, : size[0] // 4] = (images[:, :, : size[0] // 4] + 0.3).clamp(0, 1)
    combiner = network.coarse_net.combiner
    features = None
    if combiner is not None:
        # Mean and spread of the real ones (docs/NETWORK.md#frozen-depth-network).
        features = 8.6 * _smooth_noise(count, combiner.residual.in_channels, size, noise_pixels, generator) - 0.8
    return Views(
        images,
        ring(count, *size),
        names=tuple(f'CAM_{i}' for i in range(count)),
        frames=(0,) * count,
        depth_features=features,
    )


def ring(count: int, height: int, width: int) -> Cameras:
    """Place cameras that look outwards, from the front to the left and around."""
    focal = width / 2 / math.tan(FIELD_OF_VIEW / 2)
    intrinsics = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    cam2world = torch.eye(4).repeat(count, 1, 1)
    for matrix, angle in zip(cam2world, torch.arange(count) * (2 * math.pi / max(count, 1)), strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        # Columns: the camera's right, down and forward axes in the world (x right, y forward, z up).
        matrix[:3, :3] = torch.tensor([[cos, 0, -sin], [sin, 0, cos], [0, -1, 0]])
        matrix[:3, 3] = torch.tensor([-0.5 * sin, 0.5 * cos, HEIGHT_ABOVE_LIDAR])
    return Cameras(intrinsics.repeat(count, 1, 1), cam2world, height, width)


def _smooth_noise(count: int, channels: int, size: tuple[int, int], pixels: int, generator: torch.Generator) -> Tensor:
    """Make noise of about unit spread that changes over some pixels."""
    small = [max(2, side // pixels) for side in size]
    noise = torch.randn(count, channels, *small, generator=generator)
    return 1.7 * F.interpolate(noise, size=size, mode='bilinear', align_corners=False)
