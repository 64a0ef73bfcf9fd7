"""The feature pyramid on sizes that do not divide by 16."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.modules.fpn import FPN
from tests.helpers.arrays import defaults


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


def test_images_of_a_batch_do_not_influence_each_other(dtype):
    torch.manual_seed(0)
    pyramid = FPN(2, 3, 5, blocks=(1, 1, 1, 1)).double()
    images = torch.rand(3, 3, 20, 36, dtype=dtype)
    apart = torch.cat([pyramid(image[None]) for image in images])
    torch.testing.assert_close(pyramid(images), apart)


def test_the_pyramid_written_out(dtype):
    """Down five stages, then up: every stage but the last has a lateral convolution with a leaky ReLU."""
    torch.manual_seed(0)
    net = FPN(2, 3, 5, blocks=(1, 1, 1, 1)).double()
    images = torch.rand(2, 3, 32, 48, dtype=dtype)
    x = F.instance_norm(F.conv2d(images, net.stem.weight, padding=1), eps=1e-5).relu()
    maps = []
    for stage in net.stages:
        x = stage(x)
        maps.append(x)
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 32, 48), (4, 16, 24), (6, 8, 12), (8, 4, 6), (8, 2, 3)]

    def leaky(x: torch.Tensor, conv: torch.nn.Conv2d) -> torch.Tensor:
        return F.leaky_relu(F.conv2d(x, conv.weight, conv.bias, padding=conv.padding), 0.2)

    merged = F.conv2d(maps[4], net.top.weight, net.top.bias)
    for lateral, skip in zip(net.laterals, (maps[3], maps[2], maps[1], maps[0]), strict=True):
        large = F.interpolate(merged, size=skip.shape[-2:], mode='bilinear', align_corners=False)
        merged = large + leaky(skip, lateral)
    torch.testing.assert_close(net(images), leaky(merged, net.final))


def test_usual_settings_are_the_published_ones():
    assert defaults(FPN) == {'blocks': (2, 3, 5, 5), 'in_channels': 3}


def test_every_width_is_its_own():
    """Width 2, a stem of 3, an output of 5; the first stage keeps its size, the others halve it."""
    pyramid = FPN(2, 3, 5, blocks=(1, 2, 1, 3))
    shapes = {name: tuple(value.shape) for name, value in pyramid.state_dict().items()}
    assert shapes['stem.weight'] == (3, 3, 3, 3)
    assert [shapes[f'stages.{i}.0.conv1.weight'][:2] for i in range(5)] == [(4, 3), (4, 4), (6, 4), (8, 6), (8, 8)]
    assert [len(stage) for stage in pyramid.stages] == [1, 2, 1, 3, 3]
    assert [stage[0].stride for stage in pyramid.stages] == [1, 2, 2, 2, 2]
    # What follows in a stage keeps its channels, so it needs no other shortcut than itself.
    assert pyramid.stages[3][1].shortcut is None and shapes['stages.3.1.conv1.weight'][:2] == (8, 8)
    assert shapes['top.weight'][:2] == (6, 8)
    assert [shapes[f'laterals.{i}.weight'][:2] for i in range(4)] == [(6, 8), (6, 6), (6, 4), (6, 4)]
    assert shapes['final.weight'] == (5, 6, 3, 3)
