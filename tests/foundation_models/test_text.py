"""Words as vectors beside image features, by tiny models of random weights read from folders."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.foundation_models import text
from projects.DistillNeRF.foundation_models.reduction import Reduction
from projects.DistillNeRF.foundation_models.sources import open_folder
from projects.DistillNeRF.foundation_models.text import NEGATIVES, TEMPLATES, TextModel, _filled
from projects.DistillNeRF.semantics.text_encoders import encode_words, make_queries, similarities, text_encoder
from tests.helpers.refusals import assert_refused

pytest.importorskip('transformers')

from tests.helpers.text_models import CHANNELS, KINDS, LONGEST, random_reduction, save_model
from tests.helpers.tiny_models import write_model

REDUCED = 10


@pytest.fixture(scope='module')
def models(tmp_path_factory) -> dict[str, Path]:
    """A folder of each kind of model."""
    folder = tmp_path_factory.mktemp('models')
    return {kind: save_model(folder / kind.replace(' ', '_'), kind) for kind in KINDS}


@pytest.fixture
def reduction(tmp_path) -> tuple[str, Reduction]:
    """A reduction to ten channels, and its file."""
    made = random_reduction(REDUCED)
    made.save(tmp_path / 'pca.npz')
    return str(tmp_path / 'pca.npz'), made


@torch.no_grad()
def slow_vector(folder: Path, kind: str, phrase: str, templates: list[str]) -> np.ndarray:
    """The vector of a phrase, one sentence at a time, as the documentation of transformers has it."""
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    total = np.zeros(CHANNELS)
    for template in templates:
        tokens = tokenizer(template.format(phrase))['input_ids']
        if kind == 'siglip2':
            tokens = tokenizer(template.format(phrase.lower()))['input_ids']
            tokens = tokens + [tokenizer.pad_token_id] * (LONGEST - len(tokens))
        vector = model.get_text_features(torch.tensor([tokens])).pooler_output[0].double().numpy()
        total += vector / np.linalg.norm(vector)
    return total / np.linalg.norm(total)


@pytest.mark.parametrize('kind', KINDS)
def test_a_phrase_has_the_mean_direction_of_its_sentences(models, kind):
    templates = ['{}', 'a photo of {}.', 'there is the {} in the scene.']
    encoder = text_encoder({'model': str(models[kind]), 'templates': templates})
    vectors = encoder.encode(['traffic  light ', 'Car', 'road'])
    assert vectors.dtype == np.float32 and vectors.shape == (3, CHANNELS)
    for vector, phrase in zip(vectors, ('traffic light', 'Car', 'road'), strict=True):
        np.testing.assert_allclose(vector, slow_vector(models[kind], kind, phrase, templates), atol=2e-6)
    assert (vectors @ vectors.T < 0.9999)[~np.eye(3, dtype=bool)].all()
    # The mean of one sentence is another vector.
    assert (
        np.abs(text_encoder({'model': str(models[kind]), 'templates': ['{}']}).encode(['Car']) - vectors[1]).max()
        > 1e-3
    )


def test_articles_do_not_meet():
    assert _filled('a photo of a {}.', 'a red car') == 'a photo of a red car.'
    assert _filled('The {} {{', 'an elk') == 'The elk {{'
    assert _filled('{} in town', 'a red car') == 'a red car in town' and _filled('a {}', 'theater') == 'a theater'


def test_a_model_is_read_once_and_a_phrase_encoded_once(models, monkeypatch):
    setting = {'model': str(models['clip']), 'templates': ['the {} .']}
    text_encoder(setting).encode(['bus'])

    def never(*_: object, **__: object) -> None:
        raise AssertionError('encoded again')

    monkeypatch.setattr(TextModel, '_vectors', never)
    assert text_encoder(dict(setting)).encode(['bus', ' bus']).shape == (2, CHANNELS)


def test_a_word_that_is_an_image_feature_is_like_it_after_the_reduction(models, reduction):
    """Features are scaled, which moves the origin: that is undone before cosines are taken."""
    file, made = reduction
    encoder = text_encoder({'model': str(models['clip']), 'reduction': file, 'score': 'cosine'})
    words = ['car', 'road', 'tree', 'building']
    whole = text_encoder({'model': str(models['clip'])}).encode(words)
    # Features of the reduction's space, of any length: a word, as far as ten numbers tell it, and others.
    told = whole @ made.matrix @ made.matrix.T
    features = np.concatenate([5 * told, np.random.default_rng(0).normal(size=(6, REDUCED)) @ made.matrix.T])
    scaled = torch.from_numpy(made(features)).float()
    queries = make_queries(encoder, [[word] for word in words], REDUCED)
    exact = features @ whole.T / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(queries.cosines(scaled), exact, atol=1e-5)
    naive = similarities(scaled.T[None, :, :, None], encode_words(encoder, words, REDUCED))[:, 0, :, 0].T
    assert np.abs(naive.numpy() - exact).max() > 0.2


def test_a_word_within_the_reduced_space_has_cosine_one(models, tmp_path):
    """With the directions of some words among those of the reduction."""
    whole = text_encoder({'model': str(models['clip'])}).encode(['car', 'road', 'tree'])
    basis = np.linalg.qr(np.concatenate([whole.T, np.random.default_rng(0).normal(size=(CHANNELS, 5))], 1))[0]
    made = Reduction(basis.astype(np.float32), np.full(8, -0.3, np.float32), np.linspace(0.5, 2, 8, dtype=np.float32))
    made.save(tmp_path / 'pca.npz')
    encoder = text_encoder({'model': str(models['clip']), 'reduction': str(tmp_path / 'pca.npz')})
    queries = make_queries(encoder, [['car'], ['road'], ['tree']], 8)
    found = queries.cosines(torch.from_numpy(made(3 * whole)))
    np.testing.assert_allclose(found, whole @ whole.T, atol=1e-5)
    np.testing.assert_allclose(found.diagonal(), 1, atol=1e-5)


def test_queries_are_as_likely_as_their_share_beside_the_negatives(models):
    """By hand, pixel by pixel; what else is asked for makes no difference."""
    setting = {'model': str(models['clip']), 'negatives': ['sky', 'things'], 'temperature': 0.2}
    vectors = torch.from_numpy(text_encoder(setting).encode(['car', 'van', 'road', 'sky', 'things']))
    features = torch.randn(2, CHANNELS, 3, 4, generator=torch.Generator().manual_seed(0))
    maps = make_queries(text_encoder(setting), [['car', 'van'], ['road']], CHANNELS).heat_maps(features)
    assert maps.shape == (2, 2, 3, 4)
    for view, row, column in np.ndindex(2, 3, 4):
        car, van, road, *others = (F.cosine_similarity(features[view, :, row, column], v, 0) for v in vectors)
        for query, cosine in enumerate((max(car, van), road)):
            share = torch.stack([cosine, *others]).div(0.2).softmax(0)[0]
            assert maps[query, view, row, column].item() == pytest.approx(share.item(), abs=1e-5)
    alone = make_queries(text_encoder(setting), [['road']], CHANNELS).heat_maps(features)
    torch.testing.assert_close(alone[0], maps[1])


def test_temperature_and_negatives_are_those_of_the_model_and_the_usual_ones(models):
    encoder = text_encoder(str(models['clip']))
    assert encoder.negatives == NEGATIVES and encoder.temperature == pytest.approx(0.07, abs=1e-3)
    cosine = text_encoder({'model': str(models['clip']), 'score': 'cosine'})
    assert cosine.temperature is None
    features = torch.randn(1, CHANNELS, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = similarities(features, torch.from_numpy(cosine.encode(['bus'])))
    torch.testing.assert_close(make_queries(cosine, [['bus']], CHANNELS).heat_maps(features), expected)


@pytest.mark.parametrize('kind', KINDS)
def test_words_that_a_model_cannot_read_are_refused(models, kind, capsys):
    encoder = text_encoder({'model': str(models[kind])})
    for word in ('汽车', 'машина', 'العربية'):
        assert_refused(
            lambda word=word: encoder.encode(['car', word]), models[kind], 'no part of it', start=f"'{word}'"
        )
    for empty in ('', ' '):
        assert_refused(lambda empty=empty: encoder.encode([empty]), start='a text query is empty')
    assert_refused(lambda: encoder.encode(['car ' * LONGEST]), 'tokens', f'reads {LONGEST}; ask in fewer words')
    assert not capsys.readouterr().err
    encoder.encode(['car машина'])
    assert "warning: 'car машина': the model" in capsys.readouterr().err


def changed(folder: Path, to: Path, change: Callable[[Path], None]) -> str:
    shutil.copytree(folder, to)
    change(to)
    return str(to)


def test_models_that_cannot_be_used_are_refused(models, tmp_path):
    def no_tokenizer(folder: Path) -> None:
        (folder / 'tokenizer.json').unlink()

    def broken_tokenizer(folder: Path) -> None:
        (folder / 'tokenizer.json').write_text('{')

    def cut(folder: Path) -> None:
        weights = folder / 'model.safetensors'
        weights.write_bytes(weights.read_bytes()[:-100])

    def lacking(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / 'model.safetensors')
        del weights['text_projection.weight']
        save_file(weights, folder / 'model.safetensors', {'format': 'pt'})

    for name, change, words in (
        ('a', no_tokenizer, 'has no tokenizer'),
        ('b', broken_tokenizer, 'its tokenizer cannot be loaded'),
        ('c', cut, 'cannot be loaded'),
        ('d', lacking, 'text_projection.weight'),
        ('e', shutil.rmtree, 'no such folder'),
    ):
        folder = changed(models['clip'], tmp_path / name, change)
        assert_refused(lambda folder=folder: text_encoder({'model': folder}), words, start=folder)
    dino = write_model(tmp_path / 'dino', 'dino')
    shutil.copy(models['clip'] / 'tokenizer.json', dino)
    shutil.copy(models['clip'] / 'tokenizer_config.json', dino)
    assert_refused(lambda: text_encoder(str(dino)), 'kind dinov2, which has no text tower')
    assert_refused(lambda: text_encoder('nobody/nothing'), "model.text_encoder is 'nobody/nothing'", 'local cache')


def test_a_reduction_that_is_missing_or_of_another_model_is_refused(models, reduction, tmp_path):
    clip = str(models['clip'])
    missing = {'model': clip, 'reduction': str(tmp_path / 'none.npz')}
    assert_refused(lambda: text_encoder(missing), 'no such file', start=missing['reduction'])
    random_reduction(REDUCED, 30).save(tmp_path / 'other.npz')
    other = {'model': clip, 'reduction': str(tmp_path / 'other.npz')}
    assert_refused(lambda: text_encoder(other), 'for features of 30 channels', clip, str(CHANNELS))
    encoder = text_encoder({'model': clip, 'reduction': reduction[0]})
    assert_refused(lambda: encode_words(encoder, ['car'], 64), 'vectors of 10 numbers', 'renders 64 channels')
    assert_refused(lambda: encode_words(clip, ['car'], 64), 'vectors of 24 numbers', 'reduction: model.text_encoder=')


def test_a_reduction_whose_record_names_another_model_is_refused(models, reduction, tmp_path):
    """As tools/extract_features.py writes it; that of another reduction says nothing."""
    file, made = reduction
    record = tmp_path / 'features.json'
    right = {'kind': 'clip', 'weights': open_folder(models['clip']).digest(), 'reduction': made.digest()}
    for name, change, words in (
        ('a', {}, None),
        ('b', {'kind': 'dino'}, 'features of kind dino, which cannot be compared with words'),
        ('c', {'weights': open_folder(models['clip of letters']).digest()}, 'another model than'),
        ('d', {'kind': 'dino', 'reduction': 'x'}, None),
    ):
        record.write_text(json.dumps(right | change))
        setting = {'model': str(models['clip']), 'reduction': file, 'templates': [f'{name} {{}}']}
        if words is None:
            assert text_encoder(setting).span is not None
        else:
            assert_refused(lambda setting=setting: text_encoder(setting), words, start=file)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'reduction': None}, 'has no model'),
        ({'model': 3}, 'model is 3; give a text'),
        ({'model': 'm', 'template': ['{}']}, "'template', which nothing reads; known: model, reduction, templates"),
        ({'model': 'm', 'templates': '{}'}, "templates is '{}'; give a list of texts"),
        ({'model': 'm', 'templates': []}, 'give sentences that have {} once'),
        ({'model': 'm', 'templates': ['a photo']}, 'give sentences that have {} once'),
        ({'model': 'm', 'score': 'sigmoid'}, "score is 'sigmoid'; choose softmax or cosine"),
        ({'model': 'm', 'score': 'cosine', 'temperature': 0.1}, 'temperature does nothing'),
        ({'model': 'm', 'score': 'cosine', 'negatives': ['sky']}, 'negatives does nothing'),
        ({'model': 'm', 'temperature': 0}, 'give a number above 0'),
        ({'model': 'm', 'temperature': True}, 'temperature is True; give a number'),
        ({'model': 'm', 'negatives': []}, 'negatives is empty'),
        ({'model': 'm', 'negatives': ['sky', ' ']}, 'negatives has an empty phrase'),
    ],
)
def test_settings_that_mean_nothing(settings, words):
    assert_refused(lambda: text_encoder(settings), words, start='model.text_encoder')


def test_a_model_without_a_temperature_needs_one(models, monkeypatch):
    made = text._text_model(str(models['clip']))
    monkeypatch.setattr(made, 'temperature', None)
    monkeypatch.setattr(text, '_text_model', lambda name: made)
    setting = {'model': str(models['clip']), 'templates': ['one {}']}
    assert_refused(lambda: text_encoder(setting), 'says no temperature', 'temperature=0.01')
    assert text_encoder({**setting, 'temperature': 0.5}).temperature == 0.5


def test_without_transformers_one_line_says_how_to_get_it(models, monkeypatch, tmp_path):
    folder = changed(models['clip'], tmp_path / 'copy', lambda _: None)
    monkeypatch.setitem(sys.modules, 'transformers', None)
    assert_refused(lambda: text_encoder(folder), 'needs the package transformers', 'pip install transformers')


def test_usual_templates_are_sentences():
    assert len(TEMPLATES) > 1 and all(template.count('{}') == 1 for template in TEMPLATES)
