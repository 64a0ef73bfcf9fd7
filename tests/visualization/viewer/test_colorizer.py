"""The ways in which a scene can be looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.models.scene import Rendering
from projects.DistillNeRF.semantics.classes import code_vector
from projects.DistillNeRF.semantics.feature_colors import FeatureColors
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.colors import SKY_COLOR, depth_to_colors
from projects.DistillNeRF.visualization.viewer.colorizer import (
    DEPTH,
    FEATURES,
    MODES,
    NEEDS,
    RGB,
    TEXT,
    Colorizer,
    _relief,
)
from tests.helpers.scenes import CHANNELS, street

ENCODER = 'minitown_code_book'


def colorizer(head: str = 'color', encoder: str | None = None, channels: int = 64) -> Colorizer:
    if head == 'color':
        scene, channels = street(), 2 * CHANNELS
    else:
        scene = street('feature', out_channels=channels)
    return Colorizer(scene, FeatureColors.fit(torch.rand(20, channels)), encoder)


def reasons(some: Colorizer) -> dict[str, str]:
    return {mode: reason for mode in MODES if (reason := some.unavailable_reason(mode)) is not None}


def seen(**maps) -> Rendering:
    """What one camera sees; maps without its axis."""
    blank = torch.full((2, 4), 10.0)
    maps = {'depth': blank, 'opacity': torch.ones_like(blank), **maps}
    return Rendering(**{name: values[None] for name, values in maps.items()})


def test_colors_cannot_be_asked_in_words():
    some = colorizer(encoder=ENCODER)
    assert list(reasons(some)) == [TEXT]
    assert 'renders colors' in some.unavailable_reason(TEXT)
    assert some.default_mode == RGB


def test_features_with_their_encoder_can():
    some = colorizer('feature', ENCODER)
    assert list(reasons(some)) == [RGB]
    assert some.default_mode == FEATURES


@pytest.mark.parametrize(('encoder', 'channels', 'says'), [(None, 64, 'text_encoder'), (ENCODER, 8, '8 channels')])
def test_features_without_a_fitting_encoder_cannot(encoder, channels, says):
    some = colorizer('feature', encoder, channels)
    assert list(reasons(some)) == [RGB, TEXT]
    assert says in some.unavailable_reason(TEXT)


def test_a_word_that_is_not_known_is_told():
    with pytest.raises(InputError, match='unicorn'):
        colorizer('feature', ENCODER).query('unicorn')


def test_rgb_is_upright_and_keeps_its_channels():
    image = torch.zeros(3, 4, 8)
    image[0, 0, 1], image[2, 3, 6] = 1.0, 2.0
    painted = colorizer().colorize(seen(rgb=image), RGB)
    assert painted.shape == (4, 8, 3) and painted.dtype == np.uint8
    assert painted[0, 1].tolist() == [255, 0, 0] and painted[3, 6].tolist() == [0, 0, 255]


def test_depth_has_the_colors_of_all_depths_and_sky_where_rays_pass_through():
    depth = torch.tensor([[2.0, 10, 80, 5], [2, 10, 80, 5]])
    opacity = torch.ones(2, 4)
    opacity[1, 3] = 0.2
    painted = colorizer().colorize(seen(depth=depth, opacity=opacity), DEPTH)
    np.testing.assert_array_equal(painted[0], depth_to_colors(depth.numpy())[0])
    assert tuple(painted[1, 3]) == SKY_COLOR
    blue, red = painted[0, 0].astype(int), painted[0, 2].astype(int)
    assert blue[2] > blue[0] and red[0] > red[2]


def test_a_word_lights_up_what_is_like_it():
    some = colorizer('feature', ENCODER)
    features = torch.stack([torch.from_numpy(code_vector(name)) for name in ('car', 'car', 'road', 'sky')], dim=1)
    maps = seen(features=features[:, None].expand(-1, 2, -1))
    bright = some.colorize(maps, TEXT, some.query('car')).astype(int).sum(axis=-1)
    assert bright[:, :2].min() > 1.5 * bright[:, 2:].max()
    bright = some.colorize(maps, TEXT, some.query(' road ')).astype(int).sum(axis=-1)
    assert bright[:, 2].min() > 1.5 * bright[:, [0, 1, 3]].max()


def test_what_has_to_be_rendered_for_a_way_to_look():
    assert NEEDS == {RGB: 'rgb', DEPTH: 'depth', FEATURES: 'features', TEXT: 'features'} and set(NEEDS) == set(MODES)


def test_relief_is_bright_where_things_are_near():
    depth = np.array([[1.0, 2.0, np.sqrt(160), 80.0, 500.0, 2.0]])
    sky = np.array([[False] * 5 + [True]])
    relief = _relief(depth, sky)
    assert relief.shape == (1, 6, 3) and (relief == relief[..., :1]).all()
    assert relief[0, :, 0].tolist() == [255, 255, 127, 0, 0, 0]
