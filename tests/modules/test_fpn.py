"""The feature pyramid on sizes that do not divide by 16."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.modules.fpn import FPN


@pytest.mark.parametrize('size', [(16, 32), (17, 33), (1, 40), (19, 31), (128, 228)])
def test_output_has_the_size_of_the_images(size):
    torch.manual_seed(0)
    pyramid = FPN(2, 3, 5, blocks=(1, 1, 1, 1))
    images = torch.rand(2, 3, *size, requires_grad=True)
    features = pyramid(images)
    assert features.shape == (2, 5, *size)
    features.sum().backward()
    assert torch.isfinite(images.grad).all()


def test_stages_have_the_published_depths_and_widths():
    pyramid = FPN(16, 16, 16)
    assert [len(stage) for stage in pyramid.stages] == [2, 3, 5, 5, 5]
    assert [stage[-1].conv3.out_channels for stage in pyramid.stages] == [32, 32, 48, 64, 64]


def test_images_of_a_batch_do_not_influence_each_other():
    torch.manual_seed(0)
    pyramid = FPN(2, 3, 5, blocks=(1, 1, 1, 1)).double()
    images = torch.rand(3, 3, 20, 36, dtype=torch.float64)
    apart = torch.cat([pyramid(image[None]) for image in images])
    torch.testing.assert_close(pyramid(images), apart)
