"""Image measures by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from skimage.metrics import structural_similarity

from projects.DistillNeRF.evaluation.image import psnr, psnr_tensor, ssim, ssims, ssims_gaussian


def even(*values: float) -> torch.Tensor:
    """Make one image of 9 x 8 pixels per value."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 9, 8)


@pytest.mark.parametrize(
    ('difference', 'decibels'), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0), (0.0, 100.0), (1e-6, 100.0)]
)
def test_psnr_by_hand(difference, decibels):
    zeros = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    assert psnr(zeros + difference, zeros) == pytest.approx(decibels, abs=1e-6)


def test_psnr_is_over_all_pixels_together():
    """Not the mean over the images: (0.1^2 + 0.3^2) / 2 = 0.05."""
    value = psnr_tensor(even(0.6, 0.2), even(0.5, 0.5))
    assert value.item() == pytest.approx(-10 * math.log10(0.05), abs=1e-5) and value.ndim == 0


def test_ssim_of_even_images_by_hand():
    """Without variance it is (2 a b + c) / (a^2 + b^2 + c); c is a hundredth of the range of 0 to 1, squared."""

    def expected(a: float, b: float) -> float:
        return (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)

    # Computed in float32, as scikit-image does.
    assert ssim(even(0.02), even(0.03)) == pytest.approx(expected(0.02, 0.03), abs=1e-4)
    both = (expected(0.02, 0.03) + expected(0.5, 0.9)) / 2
    assert ssim(even(0.02, 0.5), even(0.03, 0.9)) == pytest.approx(both, abs=1e-4)


def test_ssim_looks_at_variances_in_windows_of_seven():
    x, y = (torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    a, b = x.mean(), y.mean()
    cov = ((x - a) * (y - b)).sum() / 48
    expected = (2 * a * b + 1e-4) * (2 * cov + 9e-4) / ((a * a + b * b + 1e-4) * (x.var() + y.var() + 9e-4))
    assert ssim(x, y) == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize('size', [(7, 7), (8, 31), (56, 100)])
def test_ssim_is_that_of_scikit_image(size):
    """Noise, a smooth image, one that is equal, and even ones: there float64 would differ in the fifth digit."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, *size, generator=generator)
    x[1] = x[1].cumsum(1).cumsum(2) / x[1].sum()
    y = (x + 0.2 * torch.rand(x.shape, generator=generator)).clamp(0, 1)
    y[2], x[3], y[3] = x[2], 0.3, 0.3 + 0.01 * torch.rand(3, *size, generator=generator)
    pairs = zip(x.numpy(), y.numpy(), strict=True)
    expected = [structural_similarity(*pair, channel_axis=0, data_range=1.0) for pair in pairs]
    assert ssims(x, y) == pytest.approx(expected, abs=2e-7) and expected[0] < 0.999
    channels_last = (images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for images in (x, y))
    assert ssims(*channels_last) == ssims(x, y) == ssims(x.double(), y.double())


def test_ssim_of_an_unknown_image_is_unknown():
    x, y = torch.rand(2, 2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    expected = ssims(x, y)
    y[0, 1, 10, 12] = math.nan
    found = ssims(x, y)
    assert math.isnan(found[0]) and found[1] == expected[1]


def test_images_that_hold_no_window_or_differ_in_size_are_refused():
    with pytest.raises(ValueError, match='a side of less than 7 pixels'):
        ssims(torch.rand(1, 3, 6, 20), torch.rand(1, 3, 6, 20))
    with pytest.raises(ValueError, match='the target'):
        ssims(torch.rand(1, 3, 8, 20), torch.rand(1, 3, 20, 8))


def slow_gaussian_ssim(x: torch.Tensor, y: torch.Tensor) -> float:
    """SSIM of one image ``(C, H, W)`` window by window, as Wang et al. wrote it; outside, the image is mirrored."""
    window = [[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)]
    w = torch.tensor(window, dtype=torch.float64)
    w /= w.sum()
    values = []
    for channel, row, column in itertools.product(*map(range, x.shape)):
        rows, columns = (mirrored(middle, size) for middle, size in ((row, x.shape[1]), (column, x.shape[2])))
        a, b = (image[channel][rows][:, columns].double() for image in (x, y))
        mean_a, mean_b = (w * a).sum(), (w * b).sum()
        var_a, var_b = (w * (a - mean_a) ** 2).sum(), (w * (b - mean_b) ** 2).sum()
        cov = (w * (a - mean_a) * (b - mean_b)).sum()
        top = (2 * mean_a * mean_b + 0.01**2) * (2 * cov + 0.03**2)
        values.append(top / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2)))
    return torch.stack(values).mean().item()


def mirrored(middle: int, size: int) -> list[int]:
    """Eleven indices around the middle one; -1 is 1, and ``size`` is ``size - 2``."""
    indices = [abs(middle + offset) for offset in range(-5, 6)]
    return [index if index < size else 2 * size - 2 - index for index in indices]


@pytest.mark.parametrize('size', [(6, 6), (13, 12), (11, 17)])
def test_gaussian_ssim_is_that_of_a_loop_over_windows(size):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    y = (x + 0.3 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = [slow_gaussian_ssim(*pair) for pair in zip(x, y, strict=True)]
    assert ssims_gaussian(x, y) == pytest.approx(expected, abs=1e-10)
    assert ssims_gaussian(x, x) == pytest.approx([1, 1]) and expected[0] < 0.99


def test_gaussian_ssim_of_torchmetrics():
    """Its structural_similarity_index_measure(x, y, data_range=1.0) of version 1.9 gave this."""
    grid = torch.arange(3 * 20 * 24, dtype=torch.float64).reshape(1, 3, 20, 24)
    x, y = (grid * 0.37).sin() / 2 + 0.5, (grid * 0.37 + 0.5).sin() / 2 + 0.5
    assert ssims_gaussian(x, y) == pytest.approx([0.8737224510552056], abs=1e-12)


def test_images_that_cannot_be_mirrored_are_refused():
    with pytest.raises(ValueError, match='a side of less than 6 pixels'):
        ssims_gaussian(torch.rand(1, 3, 5, 20), torch.rand(1, 3, 5, 20))


def test_ssim_is_the_mean_over_images():
    x, y = (torch.rand(3, 3, 9, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    each = ssims(x, y)
    assert ssim(x, y) == sum(each) / 3 and len(set(each)) == 3
    assert each[1] == ssim(x[1:2], y[1:2])
