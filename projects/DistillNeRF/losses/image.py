"""Losses on how images look: LPIPS (Zhang et al., CVPR 2018) and structural dissimilarity (Wang et al., 2004)."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.tensors import full_precision, require_same_shape, without_autocast
from ..utils.errors import InputError
from ..utils.torch_files import load_torch

# Mean squared error below which images count as equal: PSNR ends at 100 dB.
SMALLEST_ERROR = 1e-10

# Widths of the convolutions of VGG-16; a pooling starts every block but the first.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Mean and spread of ImageNet's colors, for images in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
NORM_EPSILON = 1e-10
GET_WEIGHTS = 'get it with: python tools/get_weights.py lpips-vgg'
HINT = f'{GET_WEIGHTS}; or do without: model.losses.lpips=None'


class PerceptualDistance(nn.Module):
    """LPIPS with VGG-16: weighted squared differences of normalized features, averaged over the positions.

    It has no parameters that are trained, and none in a checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *(width for block in BLOCKS for width in block)]
        shapes = list(zip(widths[1:], widths, strict=False))
        for index, (out_channels, in_channels) in enumerate(shapes):
            self._keep(f'weight{index}', torch.zeros(out_channels, in_channels, 3, 3))
            self._keep(f'bias{index}', torch.zeros(out_channels))
        for index, block in enumerate(BLOCKS):
            self._keep(f'lin{index}', torch.zeros(block[-1]))
        self._keep('shift', torch.tensor(SHIFT)[:, None, None])
        self._keep('scale', torch.tensor(SCALE)[:, None, None])

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def load(self, path: str | Path, hint: str = HINT) -> None:
        """Read weights in the names of the ``lpips`` package.

        Args:
            path: their file.
            hint: how to get it or to do without, for messages.

        Raises:
            InputError: no such file, or other names or shapes.
        """
        try:
            state = load_torch(path, 'file of LPIPS weights', hint)
            for name, source in _names().items():
                value = state[source]
                getattr(self, name).copy_(value.reshape(getattr(self, name).shape))
        except (AttributeError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
            raise InputError(
                f'{path}: no weights of LPIPS with VGG ({type(error).__name__}: {error}); {hint}'
            ) from error

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance of images ``(N, 3, H, W)`` in [0, 1]."""
        return self.of_each(estimate, target).mean()

    def of_each(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the distance ``(N,)`` of each image."""
        with without_autocast(estimate):
            return self._distance(full_precision(estimate), full_precision(target))

    def _distance(self, estimate: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self._features(estimate), self._features(target), strict=True)
        distances = [
            ((first - second).square() * getattr(self, f'lin{index}')[:, None, None]).sum(1).mean((1, 2))
            for index, (first, second) in enumerate(pairs)
        ]
        return torch.stack(distances).sum(0)

    def _features(self, images: Tensor) -> list[Tensor]:
        """Return the VGG features of the five blocks, of unit length at every position."""
        x = (2 * images - 1 - self.shift) / self.scale
        found, index = [], 0
        for number, block in enumerate(BLOCKS):
            if number:
                x = F.max_pool2d(x, 2)
            for _ in block:
                x = F.relu(F.conv2d(x, getattr(self, f'weight{index}'), getattr(self, f'bias{index}'), padding=1))
                index += 1
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + NORM_EPSILON))
        return found


def _names() -> dict[str, str]:
    """Return our names -> those of the ``lpips`` package: layers count through convolutions, ReLUs and poolings."""
    names, layer, index = {}, 0, 0
    for number, block in enumerate(BLOCKS):
        layer += number > 0
        for _ in block:
            for kind in ('weight', 'bias'):
                names[f'{kind}{index}'] = f'net.slice{number + 1}.{layer}.{kind}'
            layer, index = layer + 2, index + 1
        names[f'lin{number}'] = f'lin{number}.model.1.weight'
    return names


def dssim(estimate: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """Return ``(1 - SSIM) / 2`` of images ``(N, C, H, W)`` in [0, 1].

    As scikit-image by default: uniform window, borders cut.

    Raises:
        ValueError: the shapes differ, or the images are smaller than the window.
    """
    require_same_shape(estimate, target)
    if min(estimate.shape[-2:]) < window:
        raise ValueError(f'images of {tuple(estimate.shape[-2:])} are smaller than the window of {window}')
    # Variances are differences of nearly equal numbers, which half precision does not tell apart.
    x, y = full_precision(estimate), full_precision(target)
    sample = window**2 / (window**2 - 1)

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, window, 1)

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = (sample * (mean(v * v) - m * m) for v, m in ((x, mean_x), (y, mean_y)))
    covariance = sample * (mean(x * y) - mean_x * mean_y)
    first, second = 0.01**2, 0.03**2
    numerator = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    return (1 - numerator / ((mean_x**2 + mean_y**2 + first) * (variance_x + variance_y + second))).mean() / 2


def l1(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of two tensors of one shape (published RGBL1Loss)."""
    require_same_shape(estimate, target)
    return (estimate.float() - target.float()).abs().mean()


def l2(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of two tensors of one shape."""
    require_same_shape(estimate, target)
    return (estimate.float() - target.float()).square().mean()


def psnr_tensor(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal to noise ratio in dB of images in [0, 1] of one shape, a scalar on their device."""
    if estimate.shape != target.shape:
        raise ValueError(f'the estimate is {tuple(estimate.shape)}, the target {tuple(target.shape)}')
    error = (estimate.double() - target.double()).square().mean()
    # clamp_min keeps a NaN, and a NaN estimate is no perfect one.
    return -10 * error.clamp_min(SMALLEST_ERROR).log10()
