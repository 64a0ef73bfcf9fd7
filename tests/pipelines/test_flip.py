"""Mirrored samples."""

from __future__ import annotations

import random

import torch
from mmengine.structures import BaseDataElement

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.pipelines.images import FlipViews


def sample(boxes: bool = True) -> dict:
    cameras = Cameras(torch.tensor([[[2.0, 0, 0.5], [0, 2, 1], [0, 0, 1]]]), torch.eye(4)[None].clone(), 2, 3)
    cameras.cam2world[0, 0, 3] = 7
    views = Views(
        torch.arange(18.0).view(1, 3, 2, 3) / 20, cameras, ('A',), (0,), lidar_depth=torch.tensor([[[1.0, 2]]])
    )
    element = BaseDataElement()
    if boxes:
        element.boxes = torch.tensor([[1.0, 2, 3, 4, 5, 6, 0, 8, 9]])
    return {'inputs': {'input_views': views, 'target_views': views}, 'data_samples': element}


def test_everything_is_mirrored_or_nothing():
    plain, flipped = FlipViews(0.0).transform(sample()), FlipViews(1.0).transform(sample())
    assert torch.equal(plain['inputs']['input_views'].images, sample()['inputs']['input_views'].images)
    assert plain['data_samples'].boxes[0, 0] == 1
    for views in flipped['inputs'].values():
        assert (views.images[0, 0] * 20).round().tolist() == [[2, 1, 0], [5, 4, 3]] and views.lidar_depth.tolist() == [
            [[2, 1]]
        ]
        assert views.cameras.cam2world[0, 0, 3] == -7 and views.cameras.intrinsics[0, 0, 2] == 1.5
    assert flipped['data_samples'].boxes[0, 0] == -1
    assert 'boxes' not in FlipViews(1.0).transform(sample(boxes=False))['data_samples']


def test_samples_are_mirrored_as_often_as_asked_for():
    random.seed(0)
    half = [FlipViews().transform(sample(False))['inputs']['input_views'].images[0, 0, 0, 0] > 0.05 for _ in range(200)]
    few = [
        FlipViews(0.1).transform(sample(False))['inputs']['input_views'].images[0, 0, 0, 0] > 0.05 for _ in range(200)
    ]
    # Four standard deviations of 200 throws.
    assert 72 < sum(half) < 128 and 3 < sum(few) < 37
