"""Training steps of the published configurations on random views of published size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from torch import Tensor

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.conversion import CONFIGS
from projects.DistillNeRF.models.network import DistillNeRF
from projects.DistillNeRF.models.wrapper import Batch, DistillNeRFModel
from verification.benchmark.scenes import random_views
from verification.parity.weights import rule_state

IMAGE_SIZES = {'400_224': (224, 400), 'waymo': (144, 216)}
# Layers of VGG-16 in the names of the lpips package: slice and layer -> channels in and out.
VGG_LAYERS = {
    **{'1.0': (3, 64), '1.2': (64, 64), '2.5': (64, 128), '2.7': (128, 128), '3.10': (128, 256), '3.12': (256, 256)},
    **{'3.14': (256, 256), '4.17': (256, 512), **dict.fromkeys(('4.19', '4.21', '5.24', '5.26', '5.28'), (512, 512))},
}


@dataclass(frozen=True)
class Size:
    """How large a step is.

    Attributes:
        image: height and width of the images; ``None`` for those of the configuration.
        inputs, targets: number of input and of target views.
    """

    image: tuple[int, int] | None = None
    inputs: int = 6
    targets: int = 12


def published_model(variant: str) -> DistillNeRFModel:
    """Build the model of a published configuration with the weights of the parity rule and random LPIPS weights."""
    config = Config.fromfile(str(CONFIGS / f'{variant}.py')).model
    with TemporaryDirectory() as folder:
        if config.losses.get('lpips'):
            path = Path(folder) / 'lpips.pth'
            torch.save(lpips_weights(), path)
            config.losses.lpips.weights = str(path)
        model = MODELS.build({'_scope_': 'mmdet3d', **config})
    model.network.load_state_dict(rule_state(model.network))
    return model


def lpips_weights() -> dict[str, Tensor]:
    """Draw random weights in the names of the lpips package."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, (inputs, outputs) in VGG_LAYERS.items():
        state[f'net.slice{name}.weight'] = (
            torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / 9 / inputs) ** 0.5
        )
        state[f'net.slice{name}.bias'] = torch.randn(outputs, generator=generator) * 0.1
    for index, width in enumerate((64, 128, 256, 512, 512)):
        state[f'lin{index}.model.1.weight'] = torch.rand(1, width, 1, 1, generator=generator)
    return state


def image_size(variant: str) -> tuple[int, int]:
    """Return the height and width of a published configuration's images."""
    return next((size for name, size in IMAGE_SIZES.items() if name in variant), (128, 228))


def random_batch(network: DistillNeRF, variant: str, size: Size = Size()) -> Batch:  # frozen
    """Make a batch of one sample: random images, LiDAR depth, teacher depth, sky and, where rendered, features."""
    image = size.image or image_size(variant)
    inputs = random_views(network, image, size.inputs)
    targets = replace(random_views(network, image, size.targets, seed=1), depth_features=None)
    return {'input_views': [_with_maps(inputs, network, 2)], 'target_views': [_with_maps(targets, network, 3)]}


def _with_maps(views: Views, network: DistillNeRF, seed: int) -> Views:
    generator = torch.Generator().manual_seed(seed)
    count, _, height, width = views.images.shape
    size = (count, height // network.downscale, width // network.downscale)
    lidar = 2 + 40 * torch.rand(size, generator=generator)
    features = None
    if network.head.renders == 'features':
        channels = network.head.settings['out_channels']
        features = torch.randn(count, channels, height // 14, width // 14, generator=generator)
    return replace(
        views,
        # Five of six pixels are unknown, as in real depth images.
        lidar_depth=lidar.masked_fill(torch.rand(size, generator=generator) < 5 / 6, torch.nan),
        teacher_depth=2 + 60 * torch.rand(size, generator=generator),
        sky_mask=(torch.rand(size, generator=generator) < 0.2).float(),
        features=features,
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to a device."""
    return {name: [views.to(device) for views in samples] for name, samples in batch.items()}
