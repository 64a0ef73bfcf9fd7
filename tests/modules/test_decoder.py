"""The decoder against the published vectors."""

from __future__ import annotations

import pytest

from projects.DistillNeRF.modules.decoder import ColorDecoder, upsampling_layers


@pytest.mark.parametrize(
    ('layers', 'times', 'expected'),
    [(4, 0, ()), (4, 1, (2,)), (4, 2, (0, 2)), (4, 3, (0, 1, 2)), (4, 4, (0, 1, 2, 3)), (6, 1, (3,)), (2, 1, (1,))],
)
def test_enlargements_follow_the_published_layers(layers, times, expected):
    assert upsampling_layers(layers, times) == expected


def test_width_must_fit_the_groups():
    with pytest.raises(ValueError, match='multiple of 32'):
        ColorDecoder(9, width=40)
