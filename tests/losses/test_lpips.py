"""Losses on how images look, against other computations of the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from projects.DistillNeRF.evaluation.image import ssim
from projects.DistillNeRF.losses.image import PerceptualDistance, dssim
from projects.DistillNeRF.losses.modules import LPIPSLoss
from projects.DistillNeRF.utils.errors import InputError
from verification.benchmark.training import lpips_weights

# Layers of VGG-16 as torchvision numbers them: convolutions by number, the rest by what they are.
LAYERS = 'crcrpcrcrpcrcrcrpcrcrcrpcrcrcr'
SLICES = (4, 9, 16, 23, 30)


def images(seed: int) -> Tensor:
    """Make two images of odd size."""
    return torch.rand(2, 3, 37, 45, generator=torch.Generator().manual_seed(seed))


def plain_distance(state: dict[str, Tensor], first: Tensor, second: Tensor) -> Tensor:
    """Compute LPIPS layer by layer, as the paper and the package describe it."""
    convolutions = {int(name.split('.')[2]): name.rpartition('.')[0] for name in state if name.startswith('net')}
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    maps = [(2 * x - 1 - shift) / scale for x in (first, second)]
    total = torch.zeros(len(first))
    for layer, kind in enumerate(LAYERS):
        if kind == 'c':
            name = convolutions[layer]
            maps = [F.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias'], padding=1) for x in maps]
        elif kind == 'r':
            maps = [x.relu() for x in maps]
        else:
            maps = [F.max_pool2d(x, 2, 2) for x in maps]
        if layer + 1 in SLICES:
            lin = state[f'lin{SLICES.index(layer + 1)}.model.1.weight']
            one, two = (x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in maps)
            total += F.conv2d((one - two) ** 2, lin).mean((1, 2, 3))
    return total.mean()


def test_lpips_with_weights_of_the_package_s_names(tmp_path):
    path = tmp_path / 'lpips_vgg.pth'
    torch.save(lpips_weights(), path)
    loss = LPIPSLoss(loss_weight=2.0, weights=str(path))
    expected = 2 * plain_distance(lpips_weights(), images(0), images(1))
    torch.testing.assert_close(loss(images(0), images(1)), expected, rtol=1e-5, atol=1e-6)
    assert loss(images(0), images(0)) == 0
    assert not list(loss.parameters()) and not loss.state_dict(), 'nothing to train, nothing in checkpoints'
    estimate = images(0).requires_grad_()
    loss(estimate, images(1)).backward()
    assert estimate.grad.abs().sum() > 0


def test_lpips_without_weights_says_how_to_get_them(tmp_path):
    path = tmp_path / 'lpips_vgg.pth'
    with pytest.raises(InputError, match=r'lpips_vgg\.pth: no such file.*model\.losses\.lpips=None'):
        LPIPSLoss(weights=str(path))
    state = lpips_weights()
    del state['lin3.model.1.weight']
    torch.save(state, path)
    with pytest.raises(InputError, match=r'no weights of LPIPS.*lin3'):
        PerceptualDistance().load(path)
    assert LPIPSLoss(loss_weight=0, weights=str(path))(images(0), images(1)) == 0


def test_dssim_is_that_of_scikit_image():
    first, second = images(0), (images(0) * 0.7 + images(1) * 0.3)
    assert dssim(first, second).item() == pytest.approx((1 - ssim(first, second)) / 2, abs=1e-6)
    assert dssim(first, first).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match='smaller than the window'):
        dssim(first[..., :5], second[..., :5])


def test_the_gradient_of_dssim_is_that_of_finite_differences():
    first = images(0)[:1, :, :9, :10].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dssim(x, images(1)[:1, :, :9, :10].double()), first, atol=1e-5)


@pytest.mark.parametrize('constants', [(0.5, 0.6), (0.02, 0.03)])
def test_dssim_of_even_images_by_hand(constants):
    """Without variance SSIM is (2 a b + c) / (a^2 + b^2 + c); c is a hundredth of the range of 0 to 1, squared."""
    a, b = constants
    one, other = (torch.full((1, 3, 8, 9), value, dtype=torch.float64) for value in constants)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert dssim(one, other).item() == pytest.approx((1 - expected) / 2, rel=1e-6)


def test_dssim_of_one_window_by_hand():
    """Sample variances and covariance of 49 pixels, with 0.03^2 beside them."""
    x, y = images(0)[:1, :1, :7, :7].double(), images(1)[:1, :1, :7, :7].double()
    a, b = x.mean(), y.mean()
    va, vb, cov = x.var(), y.var(), ((x - a) * (y - b)).sum() / 48
    expected = (2 * a * b + 1e-4) * (2 * cov + 9e-4) / ((a * a + b * b + 1e-4) * (va + vb + 9e-4))
    assert dssim(x, y).item() == pytest.approx((1 - expected.item()) / 2, rel=1e-9)
    with pytest.raises(ValueError, match='estimate'):
        dssim(x, y[:, :, :, :6])
