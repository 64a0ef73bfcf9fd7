"""The network really learns: one glance at boxes of known geometry, from images and LiDAR alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.evaluation.depth import distance_to_z, resample_depth
from projects.DistillNeRF.evaluation.image import psnr
from projects.DistillNeRF.models.wrapper import Batch, DistillNeRFModel
from tests.helpers.boxworld import BoxWorld
from tests.helpers.dataset import build_dataset

STEPS = 150
LEARNING_RATE = 5e-3
WARM_UP = 10
NETWORK = {
    'space': {'inner_range': 20, 'inner_range_z': 6.4, 'step': 1.0, 'near': 0.5, 'far': 80},
    'levels': (5, 7),
    'channels': 8,
    'coarse': {'width': 8, 'channels': 16, 'blocks': (1, 1, 1, 1), 'depth_channels': None},
    'fine': {
        'width': 8,
        'hidden': 8,
        'blocks': (1, 1, 1, 1),
        'num_candidates': 5,
        'candidate_ratio': 0.04,
        'candidate_step': (0.1, 1.0),
    },
    'voxel': {'width': 8, 'num_layers': 1},
    'sampling': {'fine_samples': 8, 'fine_step': 0.2},
    'head': {'width': 32, 'num_layers': 2},
}
LOSSES = {
    'rgb': {'type': 'RGBL1Loss', 'loss_weight': 5.0},
    'lidar_depth': {'type': 'DepthClampLoss', 'max_depth': 25.0},
    'opacity': {'type': 'OpacityLoss'},
}


@dataclass(frozen=True)
class Outcome:
    """What the model makes of the sample.

    Attributes:
        loss: sum of the losses.
        psnr: of the images, dB.
        depth_errors: ``(n,)`` relative errors of the rendered z at every pixel that is not sky.
    """

    loss: float
    psnr: float
    depth_errors: Tensor


@pytest.fixture(scope='module')
def batch(tmp_path_factory) -> Batch:
    """Two cameras of 16 x 32 pixels; the dense truth is for the test only."""
    root = tmp_path_factory.mktemp('boxes')
    BoxWorld(frames=1, lidar_frames=(0,), size=(48, 96)).write(root)
    pipeline = [{'type': name} for name in ('LoadViews', 'LoadLidarDepth', 'LoadTruth', 'PackViews')]
    sizes = {'image_size': (16, 32), 'render_size': (8, 16)}
    dataset = build_dataset(root, **sizes, cameras=('LEFT', 'FRONT'), load_truth=True, pipeline=pipeline)
    return {name: [views] for name, views in dataset[0]['inputs'].items()}


def total(losses: dict[str, Tensor]) -> Tensor:
    """What mmengine would minimize."""
    return torch.stack([value for name, value in losses.items() if name.startswith('loss')]).sum()


def train(model: DistillNeRFModel, batch: Batch) -> None:
    """Adam, with a warm-up and a linear fall of the learning rate."""
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, betas=(0.9, 0.99))
    factors = [min(1, (step + 1) / WARM_UP) * (1 - step / STEPS) for step in range(STEPS)]
    for factor in factors:
        optimizer.param_groups[0]['lr'] = LEARNING_RATE * factor
        optimizer.zero_grad()
        total(model(batch, mode='loss')).backward()
        # With larger steps one run in four stays gray.
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2)
        optimizer.step()


@torch.no_grad()
def outcome(model: DistillNeRFModel, batch: Batch) -> Outcome:
    """Evaluate as the metrics do."""
    views = batch['target_views'][0]
    _, (rendering,) = model(batch, mode='tensor')
    truth = views.true_depth
    depth = resample_depth(distance_to_z(rendering.depth, views.cameras), *truth.shape[-2:])
    errors = ((depth - truth).abs() / truth)[truth.isfinite()]
    return Outcome(total(model(batch, mode='loss')).item(), psnr(rendering.rgb, views.images), errors)


def test_one_sample_is_learned(batch):
    torch.manual_seed(0)
    model = DistillNeRFModel(NETWORK, LOSSES)
    before = outcome(model, batch)
    train(model, batch)
    after = outcome(model, batch)
    images = batch['target_views'][0].images
    mean_color = images.mean(dim=(0, 2, 3), keepdim=True).expand_as(images)
    # LiDAR is not told about pixels between its returns, and the truth is twice as fine as the rendering.
    # Behind each bound: what the seeds 0, 1, 2, 3, 5 and 10 gave (9 s each).
    assert after.loss < before.loss / 8  # 16 to 24 times less
    assert after.psnr > psnr(mean_color, images) + 7  # 8.3 to 12.3 dB more
    assert after.depth_errors.mean() < 0.25  # 0.126 to 0.146
    assert after.depth_errors.median() < 0.15  # 0.068 to 0.092
    assert before.depth_errors.median() > 0.4  # 0.64, 0.67, 0.65
