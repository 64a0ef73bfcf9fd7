"""Words to vectors."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.semantics.classes import code_vector
from projects.DistillNeRF.semantics.text_encoders import (
    Queries,
    encode_words,
    make_queries,
    phrases_of,
    similarities,
)
from projects.DistillNeRF.utils.errors import InputError


def test_vectors_come_in_the_order_of_the_words():
    vectors = encode_words('minitown_code_book', ['car', 'road'], 64)
    assert vectors.dtype == torch.float32 and vectors.shape == (2, 64)
    assert vectors[0].tolist() == code_vector('car').tolist() and vectors[1].tolist() == code_vector('road').tolist()
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ('encoder', 'channels', 'word'),
    [(None, 64, 'text_encoder'), ('x', 64, "'x'; choose"), ('minitown_code_book', 63, '63 channels')],
)
def test_encoders_that_do_not_fit_are_refused(encoder, channels, word):
    with pytest.raises(InputError, match=word):
        encode_words(encoder, ['car'], channels)


def test_similarities_are_cosines():
    """Two views of 1 x 2 pixels and two channels, three vectors of any length."""
    features = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]], [[[1.0, 0.0]], [[1.0, 0.0]]]])
    vectors = torch.tensor([[5.0, 0.0], [0.0, -0.1], [1.0, 1.0]])
    half = math.sqrt(0.5)
    expected = [[[[1.0, 0.0]], [[half, 0.0]]], [[[0.0, -1.0]], [[-half, 0.0]]], [[[half, half]], [[1.0, 0.0]]]]
    torch.testing.assert_close(similarities(features, vectors), torch.tensor(expected))


def test_vectors_take_the_precision_of_the_features():
    assert similarities(torch.ones(1, 2, 1, 1, dtype=torch.float64), torch.ones(1, 2)).dtype == torch.float64


@pytest.mark.parametrize('shape', [(2,), (1, 3), (1, 2, 1)])
def test_other_widths_are_refused(shape):
    with pytest.raises(ValueError, match='features have 2 numbers'):
        similarities(torch.ones(1, 2, 1, 1), torch.ones(shape))


def test_names_of_several_words_are_those_of_classes():
    vectors = encode_words('minitown_code_book', [' traffic cone', 'traffic_cone'], 64)
    assert torch.equal(vectors[0], vectors[1])


def test_a_query_has_phrases_of_which_any_counts():
    assert phrases_of('car') == ('car',) and phrases_of(' a red  car| van ') == ('a red car', 'van')
    for empty in ('', ' ', 'car|', '|car', 'car||van'):
        with pytest.raises(InputError, match='is empty'):
            phrases_of(empty)
    features = torch.stack([torch.from_numpy(code_vector(name)) for name in ('car', 'bus', 'sky')])
    found = make_queries('minitown_code_book', [('car', 'bus'), ('sky',)], 64).cosines(features)
    assert found.shape == (3, 2)
    torch.testing.assert_close(found[:2, 0], torch.ones(2))
    assert found[2, 0] < 0.4 and found[2, 1] == pytest.approx(1)


def test_features_are_brought_back_to_where_words_are():
    """As they were before ``y = (x - lowest) / span``."""
    span, lowest = torch.tensor([2.0, 0.5, 1.0]), torch.tensor([-1.0, 0.2, 3.0])
    directions = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    vectors = torch.eye(3)[:2]
    found = Queries(vectors, span=span, lowest=lowest).cosines((directions - lowest) / span)
    torch.testing.assert_close(found, torch.nn.functional.normalize(directions, dim=1)[:, :2], rtol=1e-4, atol=1e-5)
    maps = Queries(vectors).heat_maps(directions.T[None, :, :, None])
    assert maps.shape == (2, 1, 4, 1)
    torch.testing.assert_close(maps[:, 0, :, 0], Queries(vectors).heat(directions).T)
    with pytest.raises(ValueError, match='features have 4 numbers'):
        Queries(vectors).heat(torch.ones(2, 4))
