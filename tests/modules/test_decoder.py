"""The decoder against the published vectors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.modules.decoder import ColorDecoder, StyledConv, upsampling_layers
from tests.helpers.arrays import defaults, normal, randomized


@pytest.mark.parametrize(
    ('layers', 'times', 'expected'),
    [(4, 0, ()), (4, 1, (2,)), (4, 2, (0, 2)), (4, 3, (0, 1, 2)), (4, 4, (0, 1, 2, 3)), (6, 1, (3,)), (2, 1, (1,))],
)
def test_enlargements_follow_the_published_layers(layers, times, expected):
    assert upsampling_layers(layers, times) == expected


def test_width_must_fit_the_groups():
    with pytest.raises(ValueError, match='multiple of 32'):
        ColorDecoder(9, width=40)


def styled(x: torch.Tensor, style: torch.Tensor, conv: StyledConv) -> torch.Tensor:
    """The first half of what the style says is the gain, the second the offset; groups of channels share mean and
    variance."""
    y = F.conv2d(x, conv.conv.weight, conv.conv.bias, padding=1)
    n, channels, height, width = y.shape
    groups = y.reshape(n, 32, -1)
    variance, mean = torch.var_mean(groups, dim=2, correction=0, keepdim=True)
    y = ((groups - mean) / (variance + 1e-6).sqrt()).reshape(n, channels, height, width)
    told = style @ conv.style.weight.T + conv.style.bias
    gain, offset = told[:, :channels], told[:, channels:]
    y = gain[:, :, None, None] * y + offset[:, :, None, None]
    return torch.where(y > 0, y, 0.2 * y)


def test_a_styled_convolution_has_gain_and_offset_of_its_style():
    conv = randomized(StyledConv(64, 3), 0.3)
    x, style = normal(2, 64, 4, 5), normal(2, 3)
    torch.testing.assert_close(conv(x, style), styled(x, style, conv))


@pytest.mark.parametrize('times', [0, 1, 2])
def test_the_decoder_written_out(times):
    decoder = randomized(ColorDecoder(5, width=32, num_layers=3, num_upsample=times, style_channels=4), 0.3)
    composite, classes = normal(2, 5, 4, 6), torch.tensor([2, 0])
    style = decoder.styles.weight[[2, 0]]
    x = F.leaky_relu(F.conv2d(composite, decoder.first.weight, decoder.first.bias, padding=1), 0.2)
    for index, conv in enumerate(decoder.convs):
        x = styled(x, style, conv)
        if index in {0: (), 1: (1,), 2: (0, 1)}[times]:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    x = F.conv2d(x, decoder.last.weight, decoder.last.bias, padding=1)
    found = decoder(composite, classes)
    assert decoder.scale == 2**times and found.shape == (2, 3, 4 * 2**times, 6 * 2**times)
    torch.testing.assert_close(found, x)


def test_usual_settings_are_the_published_ones():
    assert defaults(ColorDecoder) == {
        'width': 160,
        'num_layers': 4,
        'num_upsample': 1,
        'num_camera_classes': 3,
        'style_channels': 32,
    }


def test_every_width_is_its_own():
    decoder = ColorDecoder(5, width=32, num_layers=3, num_camera_classes=2, style_channels=4)
    shapes = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
    assert shapes['styles.weight'] == (2, 4) and shapes['first.weight'] == (32, 5, 3, 3)
    assert shapes['convs.2.conv.weight'] == (32, 32, 3, 3) and shapes['convs.0.style.weight'] == (64, 4)
    assert shapes['last.weight'] == (3, 32, 3, 3) and len(decoder.convs) == 3
