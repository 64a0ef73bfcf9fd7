"""Words as vectors in the space of image features: the text towers of CLIP, SigLIP and their like.

Features that a network renders are reduced and scaled (:mod:`.reduction`): ``y = (x @ M - min) / (max - min)``. The
scaling moves the origin, so that angles between ``y`` mean nothing. Cosines are therefore taken between
``y * (max - min) + min``, which is ``x @ M``, and ``t @ M``, where t is the vector of a word, of length 1. As the
columns of M are orthogonal and of length 1, that is the cosine between t and what C numbers tell of x. ``t @ M`` is not
made longer again: a word that image features tell little of is less like all of them, as before the reduction.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..utils.errors import InputError, warn
from ..utils.files import read_json
from .reduction import Reduction, load_reduction
from .sources import RESTORE, ModelFolder, load_transformers, open_folder, quiet, require_package

# Sentences whose vectors are averaged; the phrase takes the place of {}.
TEMPLATES = ('{}', 'a photo of a {}.', 'a photo of the {}.', 'a {} in the street.', 'there is a {} in the scene.')
# What everything is a little like; a query is as likely as its share beside these.
NEGATIVES = ('object', 'things', 'stuff', 'texture')
SCORES = ('softmax', 'cosine')
# Texts that go through a model at once.
BATCH = 64
# What tools/extract_features.py writes beside a reduction, and the kinds of features that lie in the space of words.
RECORD = 'features.json'
READABLE = ('clip', 'siglip')
TOKENIZER_FILES = ('tokenizer.json', 'vocab.json', 'vocab.txt', '*.model')
_ARTICLE_BEFORE = re.compile(r'\b(?:an?|the) \{\}', re.IGNORECASE)
_ARTICLE = re.compile(r'^(?:an?|the) ', re.IGNORECASE)
# What tokens of single bytes become, which are no character.
_NO_CHARACTER = '\ufffd'


@dataclass(frozen=True)
class WordSettings:
    """Settings of ``model.text_encoder=dict(...)``.

    Attributes:
        model: folder of a model of transformers with a text tower, or its name on the hub if it is in the local cache:
            the one that made the image features.
        reduction: file of the reduction of the features (:mod:`.reduction`); None: they are not reduced.
        templates: sentences with ``{}`` for the phrase; a phrase has the mean of their vectors.
        score: ``softmax``: queries are as likely as their share beside the negatives; ``cosine``.
        temperature: of the softmax; None: the one that the model was trained with.
        negatives: phrases of the softmax that nobody asks for; None for the usual ones.
    """

    model: str
    reduction: str | None = None
    templates: tuple[str, ...] = TEMPLATES
    score: str = SCORES[0]
    temperature: float | None = None
    negatives: tuple[str, ...] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> WordSettings:
        """Read the settings of a config.

        Raises:
            InputError: names the setting, and what is right.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(set(given) - set(known)):
            raise InputError(f'model.text_encoder has {unknown[0]!r}, which nothing reads; known: {", ".join(known)}')
        values = {name: _value(name, value) for name, value in given.items()}
        if not values.get('model'):
            raise InputError('model.text_encoder has no model; give the folder of the model of the image features')
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        if self.score not in SCORES:
            raise InputError(f'model.text_encoder.score is {self.score!r}; choose {" or ".join(SCORES)}')
        if not self.templates or any(template.count('{}') != 1 for template in self.templates):
            raise InputError(
                f'model.text_encoder.templates is {list(self.templates)}; give sentences that have {{}} once, where '
                'the word is put'
            )
        idle = [name for name in ('temperature', 'negatives') if getattr(self, name) is not None]
        if self.score == 'cosine' and idle:
            raise InputError(f"model.text_encoder.{idle[0]} does nothing with score='cosine'; leave one of them away")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise InputError(f'model.text_encoder.temperature is {self.temperature}; give a number above 0')
        if self.negatives is not None and not all(self.negatives):
            raise InputError('model.text_encoder.negatives has an empty phrase; leave it away')
        if self.negatives == ():
            raise InputError("model.text_encoder.negatives is empty; give some phrases, or set score='cosine'")


def _value(name: str, value: Any) -> Any:
    """Check the kind of a setting; lists become tuples.

    Raises:
        InputError: it is of another kind.
    """
    if (
        name in ('templates', 'negatives')
        and isinstance(value, list | tuple)
        and all(isinstance(v, str) for v in value)
    ):
        return tuple(' '.join(part.split()) for part in value)
    several = {'templates': 'a list of texts', 'negatives': 'a list of texts', 'temperature': 'a number'}
    kinds = {'temperature': int | float, 'templates': (), 'negatives': ()}.get(name, str)
    optional = name in ('reduction', 'temperature', 'negatives') and value is None
    if optional or (isinstance(value, kinds) and not isinstance(value, bool)):
        return value
    raise InputError(f'model.text_encoder.{name} is {value!r}; give {several.get(name, "a text")}')


@dataclass(frozen=True)
class TextEncoder:
    """What turns words into directions that rendered features are compared with.

    Attributes:
        name: for messages.
        encode: function of phrases to their directions ``(n, C)``, float32.
        span, lowest: ``(C,)``: directions of features are those of ``features * span + lowest``; None: of the features
            as they are.
        temperature: a query is as likely as in the softmax, at this temperature, of its cosine and those of the
            negative phrases; None: the cosine itself counts.
        negatives: phrases that nobody asks for.
    """

    name: str
    encode: Callable[[Sequence[str]], np.ndarray]
    span: np.ndarray | None = None
    lowest: np.ndarray | None = None
    temperature: float | None = None
    negatives: tuple[str, ...] = ()


@functools.lru_cache(maxsize=4)
def model_encoder(settings: WordSettings) -> TextEncoder:
    """Open the model and the reduction of settings; once, as long as they are used.

    Raises:
        InputError: there is none, they do not fit each other, or cannot be used.
    """
    reduction = None if settings.reduction is None else load_reduction(settings.reduction)
    words = _text_model(settings.model)
    temperature = None
    if settings.score == 'softmax':
        temperature = words.temperature if settings.temperature is None else float(settings.temperature)
        if temperature is None:
            raise InputError(
                f'{settings.model}: the model says no temperature (it has no logit_scale); set '
                'model.text_encoder.temperature=0.01, or another'
            )
    if reduction is not None:
        _check_record(settings, reduction)
    if reduction is not None and words.channels != reduction.channels[0]:
        raise InputError(
            f'{settings.reduction}: is for features of {reduction.channels[0]} channels, but words of {settings.model} '
            f'have {words.channels}; give the model that made the features, and their reduction'
        )
    return TextEncoder(
        settings.model,
        functools.partial(_encode, words, settings.templates, reduction),
        span=None if reduction is None else reduction.high - reduction.low,
        lowest=None if reduction is None else reduction.low,
        temperature=temperature,
        negatives=NEGATIVES if settings.negatives is None else settings.negatives,
    )


def _check_record(settings: WordSettings, reduction: Reduction) -> None:
    """Compare the model with the one whose features were reduced, if ``tools/extract_features.py`` left its record.

    Raises:
        InputError: it is another one, or one whose features are no words.
    """
    record = Path(str(settings.reduction)).parent / RECORD
    made = read_json(record, 'remove it, if it is of other features') if record.is_file() else None
    if not isinstance(made, dict) or made.get('reduction') != reduction.digest():
        return
    if made.get('kind') not in READABLE:
        raise InputError(
            f'{settings.reduction}: was made for features of kind {made.get("kind")}, which cannot be compared with '
            f'words; extract those of {" or ".join(READABLE)}'
        )
    if made.get('weights') != open_folder(settings.model).digest():
        raise InputError(
            f'{settings.reduction}: was made for the features of another model than {settings.model} ({record} has the '
            'digest of its weights); give that model, or extract features of this one'
        )


def _encode(
    words: TextModel, templates: tuple[str, ...], reduction: Reduction | None, phrases: Sequence[str]
) -> np.ndarray:
    """Return the vectors ``(n, C)`` of phrases in the space of features before their scaling."""
    vectors = np.stack([words.vector(phrase, templates) for phrase in phrases])
    return vectors if reduction is None else vectors @ reduction.matrix


@functools.lru_cache(maxsize=2)
def _text_model(name: str) -> TextModel:
    return TextModel(open_folder(name))


class TextModel:
    """The text tower of a model, with its tokenizer.

    Args:
        folder: of the model.

    Attributes:
        channels: of the vectors.
        temperature: that the model was trained with; None if it says none.

    Raises:
        InputError: no such model, without a text tower or a tokenizer, or damaged.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._where = str(folder.path)
        self._tokenizer = _load_tokenizer(folder)
        self._model = load_transformers(folder, 'AutoModel')
        if not hasattr(self._model, 'get_text_features'):
            raise InputError(
                f'{self._where}: is a model of kind {folder.kind}, which has no text tower beside its image features; '
                'give one that has, such as CLIP or SigLIP'
            )
        for part in ('vision_model', 'visual_projection'):
            if hasattr(self._model, part):  # half of the memory
                delattr(self._model, part)
        text = self._model.config.get_text_config()
        self._longest = int(text.max_position_embeddings)
        # SigLIP was trained on lower case and on texts of one length, padding behind them, which it sees as words.
        self._siglip = folder.kind.startswith('siglip')
        if self._siglip:
            self._tokenizer.padding_side = 'right'
        scale = getattr(self._model, 'logit_scale', None)
        self.temperature = None if scale is None else math.exp(-float(scale.detach().reshape(-1)[0]))
        self._known: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
        self.channels = self._vectors(['a']).shape[1]

    def vector(self, phrase: str, templates: tuple[str, ...]) -> np.ndarray:
        """Return the vector ``(D,)`` of a phrase, float32 of length 1: the mean of those of its sentences.

        Raises:
            InputError: an empty phrase, one of which the tokenizer knows nothing, or that is too long for the model.
        """
        phrase = ' '.join(phrase.split())
        if (phrase, templates) not in self._known:
            self._require_known(phrase)
            vectors = self._vectors([_filled(template, phrase) for template in templates])
            self._known[phrase, templates] = F.normalize(vectors.mean(0), dim=0).numpy()
        return self._known[phrase, templates]

    def _require_known(self, phrase: str) -> None:
        """Check that a phrase is something in the model's language, as far as its tokens tell."""
        if not phrase:
            raise InputError('a text query is empty; give a word, such as car')
        tokens = self._tokenizer(phrase, add_special_tokens=False)['input_ids']
        unknown = sum(
            token == self._tokenizer.unk_token_id or _NO_CHARACTER in self._tokenizer.decode([token])
            for token in tokens
        )
        if unknown == len(tokens):
            raise InputError(
                f'{phrase!r}: the model {self._where} knows no part of it, such as letters of a script that it never '
                'saw; ask in a language that it reads, for instance English'
            )
        if unknown:
            warn(
                f'{phrase!r}: the model {self._where} does not know {unknown} of its {len(tokens)} parts, so what it '
                'finds may be something else; ask in a language that it reads'
            )

    @torch.no_grad()
    def _vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the vectors ``(n, D)`` of texts, of length 1."""
        transformers = require_package('transformers')
        texts = [text.lower() if self._siglip else text for text in texts]
        with quiet(transformers):
            for text in texts:
                length = len(self._tokenizer(text)['input_ids'])
                if length > self._longest:
                    raise InputError(
                        f'{text!r}: has {length} tokens, but the model {self._where} reads {self._longest}; ask '
                        'in fewer words'
                    )
            parts = []
            for start in range(0, len(texts), BATCH):
                tokens = self._tokenizer(
                    texts[start : start + BATCH],
                    padding='max_length' if self._siglip else 'longest',
                    max_length=self._longest if self._siglip else None,
                    return_tensors='pt',
                )
                if self._siglip:
                    tokens = {'input_ids': tokens['input_ids']}
                found = self._model.get_text_features(**tokens)
                # Transformers before version 5 return the tensor itself.
                parts.append(found if isinstance(found, torch.Tensor) else found.pooler_output)
        return F.normalize(torch.cat(parts).float(), dim=1)


def _filled(template: str, phrase: str) -> str:
    """Put a phrase into a sentence; ``a red car`` loses its article where the sentence has one."""
    return template.replace('{}', _ARTICLE.sub('', phrase) if _ARTICLE_BEFORE.search(template) else phrase)


def _load_tokenizer(folder: ModelFolder) -> Any:
    """Load the tokenizer of a model.

    Raises:
        InputError: it has none, or a damaged one.
    """
    if not any(file for pattern in TOKENIZER_FILES for file in Path(folder.path).glob(pattern)):
        raise InputError(f'{folder.path}: has no tokenizer ({", ".join(TOKENIZER_FILES)}); {RESTORE}')
    transformers = require_package('transformers')
    with quiet(transformers):
        try:
            return transformers.AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
        except Exception as error:  # damaged files can fail in nearly any way
            cause = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
            raise InputError(f'{folder.path}: its tokenizer cannot be loaded ({cause}); {RESTORE}') from error
