"""The frozen depth network: sizes and colors by hand, its head written out in a tiny size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from projects.DistillNeRF.modules import depth_anything
from projects.DistillNeRF.modules.depth_anything import (
    DepthAnything,
    DPTHead,
    Fusion,
    ResidualConvUnit,
    load_depth_anything,
    network_size,
)
from tests.helpers.arrays import normal, randomized


@pytest.mark.parametrize(
    ('size', 'expected'),
    # The shorter side becomes 518 = 37 * 14; the longer one 922 = 65 * 14 + 12, 925 = 66 * 14 + 1, 518.
    [((128, 228), (518, 910)), ((224, 400), (518, 924)), ((400, 224), (924, 518)), ((60, 60), (518, 518))],
)
def test_the_size_at_which_images_enter(size, expected):
    assert network_size(*size) == expected


def test_images_are_normalized_by_the_colors_of_imagenet():
    image = torch.tensor([0.485, 0.456 + 0.224, 0.406 - 0.225]).view(1, 3, 1, 1).expand(1, 3, 40, 60)
    ready = DepthAnything.preprocess(image)
    assert ready.shape == (1, 3, 518, 770)
    expected = torch.tensor([0.0, 1.0, -1.0]).view(1, 3, 1, 1).expand_as(ready)
    # Weights of the bicubic resampling sum to one within rounding of float32.
    torch.testing.assert_close(ready, expected, rtol=0, atol=1e-4)
    # Another call copies nothing from the host: mean and deviation are there.
    assert depth_anything._statistics(image.dtype, image.device) is depth_anything._statistics(
        image.dtype, image.device
    )


def conv(x: Tensor, layer: nn.Conv2d, **options) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, **options)


def test_residual_unit():
    unit, x = randomized(ResidualConvUnit(2)), normal(1, 2, 4, 5)
    expected = x + conv(conv(x.relu(), unit.conv1, padding=1).relu(), unit.conv2, padding=1)
    torch.testing.assert_close(unit(x), expected)


def test_fusion_adds_the_refined_skip_and_enlarges_corner_to_corner():
    fusion, x, skip = randomized(Fusion(2)), normal(1, 2, 3, 4), normal(1, 2, 3, 4).flip(-1)
    for given in (None, skip):
        merged = x if given is None else x + fusion.resConfUnit1(skip)
        large = F.interpolate(fusion.resConfUnit2(merged), size=(5, 7), mode='bilinear', align_corners=True)
        torch.testing.assert_close(fusion(x, given, (5, 7)), conv(large, fusion.out_conv))


def test_the_head_merges_from_the_last_block_to_the_first():
    head, rows, columns = randomized(DPTHead(width=3, sizes=(2, 3, 4, 5), channels=4)), 2, 3
    tokens = [normal(2, rows * columns, 3) * (i + 1) for i in range(4)]
    maps = [
        conv(torch.stack([x[:, [r * columns + c for c in range(columns)]] for r in range(rows)], 1).movedim(-1, 1), p)
        for x, p in zip(tokens, head.projects, strict=True)
    ]
    up4, up2, _, down = head.resize_layers
    first = F.conv_transpose2d(maps[0], up4.weight, up4.bias, stride=4)
    second = F.conv_transpose2d(maps[1], up2.weight, up2.bias, stride=2)
    fourth = conv(maps[3], down, stride=2, padding=1)
    s = head.scratch
    first, second, third, fourth = (
        F.conv2d(x, layer.weight, padding=1)
        for x, layer in zip(
            (first, second, maps[2], fourth), (s.layer1_rn, s.layer2_rn, s.layer3_rn, s.layer4_rn), strict=True
        )
    )
    x = s.refinenet4(fourth, None, (2, 3))
    x = s.refinenet3(x, third, (4, 6))
    x = s.refinenet2(x, second, (8, 12))
    x = s.refinenet1(x, first, (16, 24))
    found = head(tokens, rows, columns)
    assert found.shape == (2, 4, 16, 24)
    torch.testing.assert_close(found, x)


def test_its_own_depth_is_positive_and_of_the_size_of_the_patches():
    head = randomized(DPTHead(width=3, sizes=(2, 3, 4, 5), channels=4))
    feature, s = normal(1, 4, 16, 24), head.scratch
    x = conv(feature, s.output_conv1, padding=1)
    x = F.interpolate(x, size=(28, 42), mode='bilinear', align_corners=True)
    x = conv(conv(x, s.output_conv2[0], padding=1).relu(), s.output_conv2[2]).relu()
    torch.testing.assert_close(head.depth(feature, 2, 3), x)


class Patches(nn.Module):
    """In the place of the transformer: remembers what it is given."""

    patch = 14

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen = images
        return [torch.zeros(1)]


def test_features_have_the_size_of_the_images(monkeypatch):
    with torch.device('meta'):
        network = DepthAnything()
    asked = []
    network.pretrained = Patches()

    def head(tokens: list[Tensor], rows: int, columns: int) -> Tensor:
        asked.append((rows, columns))
        return torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 8 * rows, 8 * columns)

    monkeypatch.setattr(network.depth_head, 'forward', head)
    images = torch.rand(1, 3, 40, 60)
    features = network(images)
    assert asked == [(37, 55)]
    torch.testing.assert_close(network.pretrained.seen, DepthAnything.preprocess(images))
    assert features.shape == (1, 3, 40, 60)
    torch.testing.assert_close(features[0, :, 7, 9], torch.arange(3.0))


def test_published_weights_are_frozen():
    with torch.device('meta'):
        names = DepthAnything().state_dict()
    state = {name: torch.empty(1).expand(value.shape) for name, value in names.items()}
    network = load_depth_anything(state)
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    del state['pretrained.cls_token']
    with pytest.raises(RuntimeError, match='cls_token'):
        load_depth_anything(state)
