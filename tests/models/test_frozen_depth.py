"""The frozen depth network is read once, when it is wanted, and sees one image after the other."""

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
