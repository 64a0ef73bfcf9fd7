"""Teacher maps that are resized where they are loaded give the losses the very same targets."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.geometry.contraction import ParameterizedSpace
from projects.DistillNeRF.models.objective import Objective
from tests.helpers.commands import ENTRY
from tests.helpers.dataset import PIPELINE, build_dataset
from tests.helpers.refusals import assert_refused

SIZE = (14, 23)
FLIPPED = [*PIPELINE, {'type': 'FlipViews', 'probability': 1.0}]


@pytest.mark.parametrize('pipeline', [PIPELINE, FLIPPED], ids=['plain', 'flipped'])
@pytest.mark.parametrize('quirks', [False, True])
def test_targets_of_the_losses_are_the_same_bit_by_bit(box_root, pipeline, quirks):
    options = {
        'render_size': SIZE,
        'load_teacher': True,
        'training_target_smart_sample': True,
        'pipeline': list(pipeline),
    }
    objective = Objective({}, ParameterizedSpace(inner_range=15, inner_range_z=4, step=2.0, far=60), quirks)
    stored, resized = (build_dataset(box_root, resize_teacher=resize, **options) for resize in (False, True))
    for index in range(len(stored)):
        random.seed(index)
        plain = stored[index]['inputs']
        random.seed(index)
        for name, views in resized[index]['inputs'].items():
            assert views.teacher_depth.shape[1:] == views.sky_mask.shape[1:] == SIZE
            assert plain[name].teacher_depth.shape[1:] == (60, 100)
            for source in ('teacher_depth', 'lidar_depth'):
                targets = [objective.depth_target(source, one, SIZE) for one in (plain[name], views)]
                assert targets[0].numpy().tobytes() == targets[1].numpy().tobytes()
            rest = dataclasses.replace(views, teacher_depth=None, sky_mask=None)
            assert torch.equal(rest.images, plain[name].images)


def test_maps_that_are_not_larger_stay_and_so_do_those_of_tests(box_root):
    for options in ({'render_size': (60, 100)}, {'render_size': SIZE, 'test_mode': True}):
        dataset = build_dataset(box_root, resize_teacher=True, load_teacher=True, **options)
        assert dataset[0]['inputs']['input_views'].teacher_depth.shape[1:] == (60, 100)


def test_losses_of_single_depths_need_the_stored_maps():
    options = {'train_dataloader.dataset.resize_teacher': True}
    load_config(ENTRY, options)
    assert_refused(
        lambda: load_config(ENTRY, {**options, 'model.losses.density.type': 'DensityLoss'}),
        'resize_teacher',
        'the loss density',
    )
    assert_refused(
        lambda: load_config(ENTRY, {'val_dataloader.dataset.resize_teacher': True}), 'does nothing with test_mode=True'
    )
