"""Heat maps of queries, and the code book that stands for a text encoder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from projects.DistillNeRF.semantics.classes import CLASS_ID, CLASSES, code_book, code_vector
from projects.DistillNeRF.semantics.text_encoders import encode_words, make_queries, similarities
from projects.DistillNeRF.utils.errors import InputError
from projects.DistillNeRF.visualization.feature_rows import draw_heat_map, feature_rows, query_rows
from tests.helpers.scenes import HEIGHT, WIDTH, front_and_back

CAR, ROAD, SKY = (CLASS_ID[name] for name in ('car', 'road', 'sky'))
# Trained networks know these vectors: they must not change.
CAR_SIGNS = [bool(sign) for sign in [0, 0, 0, 0, 0, 1]]


def classes() -> torch.Tensor:
    """Two cameras: sky over road, a car at the upper left of the first and at the lower right of the second."""
    maps = torch.full((2, 12, 20), SKY)
    maps[:, 6:] = ROAD
    maps[0, 1:5, 2:8] = CAR
    maps[1, 8:11, 13:18] = CAR
    return maps


def features() -> torch.Tensor:
    return torch.from_numpy(code_book())[classes()].movedim(-1, 1)


def test_code_vectors_are_units_of_their_own_and_stay_what_they_are():
    book = code_book()
    assert book.shape == (len(CLASSES), 64)
    cosines = book @ book.T
    assert np.allclose(np.diag(cosines), 1)
    assert np.abs(cosines - np.eye(len(CLASSES))).max() <= 0.35
    assert np.array_equal(book[CAR], code_vector('car'))
    assert (code_vector('car')[:6] > 0).tolist() == CAR_SIGNS


def test_features_are_most_like_the_query_where_its_class_is():
    maps = similarities(features(), encode_words('minitown_code_book', ('car', 'road', 'bus'), 64))
    assert maps.shape == (3, 2, 12, 20)
    torch.testing.assert_close(maps[0] > 0.99, classes() == CAR)
    torch.testing.assert_close(maps[1] > 0.99, classes() == ROAD)
    assert maps[2].max() < 0.4
    torch.testing.assert_close(
        similarities(7 * features(), maps.new_ones(1, 64)), similarities(features(), maps.new_ones(1, 64))
    )


def test_heat_lies_on_the_pixels_of_the_class():
    views = front_and_back()
    rows = query_rows(views, features(), ('car',), make_queries('minitown_code_book', [('car',)], 64))
    assert [row.label for row in rows] == ['query\ncar']
    first, second = (rows[0].tiles[name].astype(int).sum(-1) for name in ('FRONT', 'BACK'))
    assert first.shape == (HEIGHT, WIDTH)
    inside, outside = first[4:8, 6:14], first[14:]
    assert inside.min() > outside.max()
    assert np.unravel_index(second.argmax(), second.shape)[0] >= HEIGHT // 2
    assert second[18:20, 28:34].min() > second[:10].max()


def test_without_likeness_the_dimmed_image_is_seen():
    image = np.full((4, 6, 3), (200, 100, 0), np.uint8)
    assert draw_heat_map(np.full((2, 3), -0.5), image)[0, 0].tolist() == [90, 45, 0]


def test_any_features_and_vectors_will_do():
    generator = torch.Generator().manual_seed(0)
    some, vectors = torch.randn(3, 5, 4, 6, generator=generator), torch.randn(2, 5, generator=generator)
    expected = torch.nn.functional.cosine_similarity(some[None], vectors[:, None, :, None, None], dim=2)
    torch.testing.assert_close(similarities(some, vectors), expected)
    assert (similarities(torch.zeros(1, 5, 2, 2), vectors) == 0).all()
    with pytest.raises(ValueError, match='have 5 numbers'):
        similarities(some, vectors[:, :4])


@pytest.mark.parametrize(
    ('encoder', 'word', 'channels', 'message'),
    [
        ('minitown_code_book', 'dragon', 64, "'dragon' is no class of MiniTown; ask for one of sky, road, "),
        (None, 'car', 64, 'set model.text_encoder to one of minitown_code_book'),
        ('clip', 'car', 64, "model.text_encoder is 'clip'; choose one of minitown_code_book"),
        ('minitown_code_book', 'car', 33, 'this network renders 33 channels'),
    ],
)
def test_queries_that_cannot_be_answered(encoder, word, channels, message):
    with pytest.raises(InputError, match=message):
        encode_words(encoder, (word,), channels)


def test_teacher_features_have_the_colors_of_the_rendered_ones():
    views = dataclasses.replace(front_and_back(), features=features())
    rendered, teacher = feature_rows(views, features().flip(0))
    assert (rendered.label, teacher.label) == ('features', 'teacher\nfeatures')
    assert np.array_equal(rendered.tiles['FRONT'], teacher.tiles['BACK'])
    assert len(np.unique(teacher.tiles['FRONT'].reshape(-1, 3), axis=0)) == 3
    # Another instant has the colors of the current one.
    later = dataclasses.replace(front_and_back(), features=features().flip(0))
    shown = feature_rows(later, features(), 'next\n', like=(views, features().flip(0)))
    assert [row.label for row in shown] == ['next\nfeatures', 'next\nteacher\nfeatures']
    assert np.array_equal(shown[0].tiles['FRONT'], teacher.tiles['FRONT'])
    assert np.array_equal(shown[1].tiles['FRONT'], rendered.tiles['FRONT'])
    # A network of other features: each in colors of its own.
    other, same = feature_rows(views, torch.randn(2, 5, 12, 20))
    assert other.tiles['FRONT'].shape == same.tiles['FRONT'].shape == (12, 20, 3)
