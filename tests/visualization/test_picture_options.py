"""What a config asks to be drawn."""

from __future__ import annotations

import pytest

from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.options import DEFAULT_QUERY, PictureOptions


def test_nothing_is_drawn_that_is_not_asked_for():
    options = PictureOptions.of({'network': {}, 'visualize_imgs': None})
    assert options == PictureOptions() and not options.anything
    assert options.save_visualized_imgs and options.voxel_min_density == 0.5


@pytest.mark.parametrize(
    'key', ['visualize_imgs', 'visualize_voxels', 'visualize_foundation_model_feat', 'language_query']
)
def test_each_of_the_four_is_something(key):
    assert PictureOptions.of({key: True}).anything
    assert not PictureOptions.of({key: False}).anything


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        (True, DEFAULT_QUERY),
        (False, ()),
        ('a  traffic cone', ('a traffic cone',)),
        ([' car ', 'bus'], ('car', 'bus')),
        (('road',), ('road',)),
    ],
)
def test_words(given, words):
    assert PictureOptions.of({'language_query': given}).language_query == words
    if not isinstance(given, bool):
        assert PictureOptions.of({'voxel_colors': given}).voxel_colors == tuple(w.replace(' ', '_') for w in words)


@pytest.mark.parametrize(
    ('key', 'value', 'word'),
    [
        ('visualize_imgs', 'yes', 'give True or False'),
        ('voxel_min_density', 'thin', 'give a number'),
        ('vis_save_directory', 3, 'give a text'),
        ('text_encoder', True, 'give a text'),
        ('voxel_colors', True, 'give rgb, height, features'),
        ('language_query', '', 'has an empty query'),
        ('language_query', ['car', ' ', 'road'], 'has an empty query'),
    ],
)
def test_values_of_the_wrong_kind(key, value, word):
    with pytest.raises(InputError, match=rf'model\.{key} is .*{word}'):
        PictureOptions.of({key: value})


def test_a_density_may_be_a_whole_number():
    assert PictureOptions.of({'voxel_min_density': 2, 'vis_save_directory': 'x'}).voxel_min_density == 2


def test_voxel_colours_is_another_spelling_of_voxel_colors():
    assert PictureOptions.of({'voxel_colours': 'height', 'voxel_colors': None}).voxel_colors == ('height',)
    with pytest.raises(InputError, match=r'model\.voxel_colours is another spelling of model\.voxel_colors'):
        PictureOptions.of({'voxel_colours': 'height', 'voxel_colors': 'rgb'})
