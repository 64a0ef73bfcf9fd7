"""The frozen depth network is read once per precision, when it is wanted; a CPU gives it one image after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from projects.DistillNeRF.models import frozen_depth
from projects.DistillNeRF.models.frozen_depth import FrozenDepth


class Network(nn.Module):
    """Features are the image's mean color; remembers the sizes that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        return self.weight * images.mean(1, keepdim=True)


def test_features_image_by_image(monkeypatch):
    read, network = [], Network()
    monkeypatch.setattr(frozen_depth, 'read_depth_anything', lambda path: read.append(path) or network)
    frozen = FrozenDepth('weights.pth')
    assert not read
    images = torch.rand(3, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    for _ in range(2):
        features = frozen(images)
    assert read == ['weights.pth']
    assert network.seen == [(1, 3, 4, 5)] * 6
    assert network.weight.dtype == torch.float64, 'it follows the images'
    torch.testing.assert_close(features, images.mean(1, keepdim=True))
    assert not features.requires_grad


def test_elsewhere_than_on_a_cpu_all_images_go_in_at_once(monkeypatch):
    network = Network()
    monkeypatch.setattr(frozen_depth, 'read_depth_anything', lambda path: network)
    monkeypatch.setattr(frozen_depth, 'keeps_in_cache', lambda device: False)
    features = FrozenDepth('weights.pth')(torch.rand(3, 3, 4, 5))
    assert network.seen == [(3, 3, 4, 5)]
    assert features.shape == (3, 1, 4, 5)


class Mixed(nn.Module):
    """A product, a norm and a gain, as the real network has them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.product = nn.Conv2d(3, 4, 1)
        self.norm = nn.LayerNorm(5)
        self.gain = nn.Parameter(torch.rand(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * self.norm(self.product(images)) + images[:, :1]


def test_weights_of_products_are_stored_in_the_precision_of_the_run(monkeypatch):
    """Under autocast the numbers are those of weights that are converted at each call."""
    read: list[Mixed] = []

    def build(path: str) -> Mixed:
        read.append(Mixed().requires_grad_(False))
        return read[-1]

    monkeypatch.setattr(frozen_depth, 'read_depth_anything', build)
    frozen, images = FrozenDepth('weights.pth'), torch.rand(2, 3, 4, 5)
    plain = frozen(images)
    for _ in range(2):
        with torch.autocast('cpu', torch.bfloat16):
            half = frozen(images)
            assert torch.equal(half, Mixed()(images))
        assert torch.equal(frozen(images), plain), 'the full precision is still there'
    assert not torch.equal(half, plain)
    _, stored = read
    assert stored.product.weight.dtype == stored.product.bias.dtype == torch.bfloat16
    assert stored.norm.weight.dtype == stored.gain.dtype == torch.float32
