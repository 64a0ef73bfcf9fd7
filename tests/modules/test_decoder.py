"""The decoder against the published vectors."""

from __future__ import annotations

import pytest
import torch
from parity import rule_weight

from projects.DistillNeRF.models.published import published_name
from projects.DistillNeRF.modules.decoder import ColorDecoder, StyledConv, upsampling_layers


@pytest.mark.parametrize(('upsample', 'layers'), [(0, 4), (1, 4), (2, 4), (0, 1)])
def test_decoder_is_the_published_one(unit, upsample, layers):
    group = f'decoder_up{upsample}_layers{layers}'
    decoder = ColorDecoder(9, width=64, num_layers=layers, num_upsample=upsample)
    state = {
        name: torch.from_numpy(rule_weight(published_name(f'head.decoder.{name}'), tuple(value.shape)))
        for name, value in decoder.state_dict().items()
    }
    decoder.load_state_dict(state)
    image = decoder(unit(f'{group}/in')[0].permute(0, 3, 1, 2), torch.tensor([1, 2]))
    torch.testing.assert_close(image, unit(f'{group}/out'), rtol=1e-4, atol=2e-5)
    assert decoder.scale == image.shape[-1] // 10


def test_styled_norm_is_the_published_one(unit):
    layer = StyledConv(64, 32)
    torch.nn.init.dirac_(layer.conv.weight)
    torch.nn.init.zeros_(layer.conv.bias)
    for name in ('weight', 'bias'):
        parameter = getattr(layer.style, name)
        parameter.data = torch.from_numpy(rule_weight(f'unit.adagn.style.{name}', tuple(parameter.shape)))
    y = layer(unit('block/adagn_in'), unit('block/adagn_style'))
    expected = torch.nn.functional.leaky_relu(unit('block/adagn_out'), 0.2)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('layers', 'times', 'expected'),
    [(4, 0, ()), (4, 1, (2,)), (4, 2, (0, 2)), (4, 3, (0, 1, 2)), (4, 4, (0, 1, 2, 3)), (6, 1, (3,)), (2, 1, (1,))],
)
def test_enlargements_follow_the_published_layers(layers, times, expected):
    assert upsampling_layers(layers, times) == expected


def test_width_must_fit_the_groups():
    with pytest.raises(ValueError, match='multiple of 32'):
        ColorDecoder(9, width=40)
