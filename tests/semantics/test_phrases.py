"""Classes told by phrases, with MiniTown's code book as the language."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.semantics import text_encoders
from projects.DistillNeRF.semantics.classes import CHANNELS, CLASSES, OCC3D_CLASSES, OCC3D_ID, SKY, code_vector
from projects.DistillNeRF.semantics.occ3d import FREE
from projects.DistillNeRF.semantics.phrases import (
    MINITOWN_PHRASES,
    OCC3D_PHRASES,
    PhraseClassifier,
    check_phrases,
    default_phrases,
    minitown_phrases,
    read_phrases,
)
from tests.helpers.refusals import assert_refused

CAR, WALL = OCC3D_CLASSES.index('car'), OCC3D_CLASSES.index('manmade')
# Words of three numbers.
WORDS = {'car': (1.0, 0.0, 0.0), 'van': (0.0, 1.0, 0.0), 'wall': (0.6, 0.6, 0.5), 'tree': (0.0, 0.0, -2.0)}


@pytest.fixture
def small_language(monkeypatch) -> None:
    """A text encoder of :data:`WORDS`."""

    def encode(words: list[str]) -> np.ndarray:
        return np.array([WORDS[word] for word in words], np.float32)

    monkeypatch.setitem(text_encoders.TEXT_ENCODERS, 'small', encode)


def code(name: str) -> torch.Tensor:
    return torch.from_numpy(code_vector(name))[None]


def test_codes_of_all_classes_are_found_by_their_names():
    """Both names of what is made by man lead to it."""
    classify = PhraseClassifier('minitown_code_book', None, CHANNELS)
    known = [number for number in range(len(CLASSES)) if number != SKY]
    features = 3 * torch.cat([code(CLASSES[number]) for number in known])
    assert classify.classes(features).tolist() == OCC3D_ID[known].tolist()
    assert default_phrases('minitown_code_book')['manmade'] == ('building', 'furniture')


@pytest.mark.parametrize('combine', ['best', 'mean'])
def test_several_phrases_of_a_class_are_combined(small_language, combine):
    """As the slow version does: phrase by phrase, class by class."""
    phrases = {'car': ['car', 'van'], 'manmade': ['wall'], 'vegetation': ['tree']}
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    found = PhraseClassifier('small', phrases, 3, combine).similarities(features)
    for row, feature in zip(found, features, strict=True):
        for value, words in zip(row, phrases.values(), strict=True):
            cosines = [F.cosine_similarity(feature, torch.tensor(WORDS[word]), 0).item() for word in words]
            assert value.item() == pytest.approx(
                max(cosines) if combine == 'best' else sum(cosines) / len(cosines), abs=1e-6
            )


def test_the_best_phrase_finds_what_the_mean_misses(small_language):
    """A van is nothing like a car: in the mean the wall is nearer."""
    phrases, van = {'car': ['car', 'van'], 'manmade': ['wall']}, torch.tensor([[0.1, 1.0, 0.1]])
    assert PhraseClassifier('small', phrases, 3, 'best').classes(van).item() == CAR
    assert PhraseClassifier('small', phrases, 3, 'mean').classes(van).item() == WALL


def test_classes_without_phrases_are_never_said(small_language):
    features = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert set(PhraseClassifier('small', {'manmade': ['wall'], 'car': ['van']}, 3).classes(features).tolist()) == {
        CAR,
        WALL,
    }
    assert PhraseClassifier('small', {'car': ['van']}, 3).classes(features[:0]).shape == (0,)


def test_usual_phrases_are_of_classes_and_an_encoder_of_english_has_them():
    check_phrases(OCC3D_PHRASES, 'here')
    assert set(OCC3D_PHRASES) == set(OCC3D_CLASSES[1:FREE]) and default_phrases('clip') is OCC3D_PHRASES


def test_unknown_words_and_encoders_are_refused():
    vehicle = {'car': ['car', 'vehicle']}
    assert_refused(
        lambda: PhraseClassifier('minitown_code_book', vehicle, CHANNELS), 'is no class of MiniTown', start="'vehicle'"
    )
    assert_refused(lambda: PhraseClassifier(None, vehicle, CHANNELS), 'model.text_encoder')


def test_every_class_of_minitown_has_phrases():
    assert tuple(MINITOWN_PHRASES) == CLASSES and all(MINITOWN_PHRASES.values())
    assert minitown_phrases('minitown_code_book') == {name: (name,) for name in CLASSES}
    assert minitown_phrases({'model': 'clip'}) is MINITOWN_PHRASES


def test_phrases_are_read_from_a_file(tmp_path):
    path = tmp_path / 'phrases.json'
    path.write_text(json.dumps({'car': ['car', 'a parked van'], 'terrain': ['grass']}))
    assert read_phrases(path) == {'car': ['car', 'a parked van'], 'terrain': ['grass']}
    for text, words in (
        ('{"car": ["car"', 'not readable as JSON'),
        ('[]', 'holds no phrases'),
        ('{}', 'holds no phrases'),
        ('{"free": ["air"]}', "'free' is no class"),
        ('{"car": ["car", 3]}', 'phrases of car are'),
        ('{"car": [" "]}', 'phrases of car are'),
    ):
        path.write_text(text)
        assert_refused(lambda: read_phrases(path), words, start=path)
    assert_refused(lambda: read_phrases(tmp_path / 'none.json'), 'no such file')
