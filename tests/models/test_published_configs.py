"""Every published configuration, and the successor, builds and learns from one camera at its published size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.models.conversion import CONFIGS, PUBLISHED_VARIANTS
from projects.DistillNeRF.models.frozen_depth import read_depth_anything
from projects.DistillNeRF.models.wrapper import DistillNeRFModel
from projects.DistillNeRF.utils.errors import InputError
from verification.benchmark.scenes import random_views

SIZES = {'400_224': (224, 400), 'waymo': (144, 216)}
QUICK = ('model', 'model_linearspace_foundation_feature')
# The last layer of the blend begins at 0: those before it learn from the second step on. One camera sees itself from
# no angle.
LATER = ('blend.first', 'blend.second', 'blend.summary', 'blend.angle_scale')


def build(variant: str) -> DistillNeRFModel:
    torch.manual_seed(0)
    config = Config.fromfile(str(CONFIGS / f'{variant}.py')).model
    # Its weights are not here (tests/losses/test_lpips.py has some of its own).
    config.losses.lpips = None
    # As a runner with its default scope would.
    return MODELS.build({'_scope_': 'mmdet3d', **config})


def test_all_configs_are_named_here():
    successors = {'successor', 'successor_features', 'successor_small', 'successor_small_features', 'successor_options'}
    ours = {'base', 'small', 'small_features', 'scene_nerf', *successors}
    assert {path.stem for path in CONFIGS.glob('*.py')} - ours == set(PUBLISHED_VARIANTS)


@pytest.mark.parametrize(
    'variant',
    [
        v if v in QUICK else pytest.param(v, marks=pytest.mark.slow)
        for v in (*PUBLISHED_VARIANTS, 'successor', 'successor_features')
    ],
)
def test_one_step(variant):
    model = build(variant).train()
    size = next((size for name, size in SIZES.items() if name in variant), (128, 228))
    views = random_views(model.network, size, 1)
    height, width = (side // model.network.downscale for side in size)
    views = replace(
        views,
        lidar_depth=torch.rand(1, height, width) * 40 + 2,
        teacher_depth=torch.rand(1, height, width) * 60 + 2,
        features=torch.rand(1, 64, 12, 20) if 'feature' in variant else None,
    )
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.0, 0.99))
    losses = model({'input_views': [views], 'target_views': [views]}, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    optimizer.step()
    assert total.isfinite()
    moved = [name for name, value in model.network.named_parameters() if not torch.equal(value, before[name])]
    # The camera classes 0 and 2 are never fed; every other parameter learns.
    assert {name for name in before if not name.startswith(LATER)} == set(moved)


def test_the_successor_has_the_sizes_of_the_published_network():
    """It differs in nothing but its own options, and in what the published code does wrong."""
    published, network = (Config.fromfile(str(CONFIGS / f'{name}.py')).model.network for name in ('model', 'successor'))
    small = Config.fromfile(str(CONFIGS / 'successor_small.py')).model.network
    own = ('rows_per_pixel', 'source_blend', 'depth_bins')
    for options in (network, small):
        assert options.rows_per_pixel == 3 and options.source_blend.count == 2
        assert options.sampling.mean_density and options.coarse.distribution == 'softmax'
        assert options.depth_bins.far == options.space.far and not options.published_quirks
    assert (small.coarse.width, network.coarse.width) == (24, published.coarse.width)
    for name in own:
        del network[name]
    del network.sampling['mean_density'], network.coarse['distribution']
    network.update(published_quirks=True)
    network.fine.update(first_candidate=-8)
    assert network == published


def test_views_without_depth_features_need_the_frozen_network(tmp_path):
    model = build('model')
    model.network.frozen_depth.path = tmp_path / 'none.pth'
    views = replace(random_views(model.network, (32, 56), 1), depth_features=None)
    with pytest.raises(InputError, match=r'none\.pth.*no such file.*depth_anything_vitb14\.pth'):
        model.network(views)


def test_files_that_are_no_weights_of_the_frozen_network(tmp_path: Path):
    path = tmp_path / 'weights.pth'
    torch.save({'pretrained.cls_token': torch.zeros(1, 1, 768)}, path)
    with pytest.raises(InputError, match=r'weights\.pth: not weights of Depth-Anything'):
        read_depth_anything(path)
