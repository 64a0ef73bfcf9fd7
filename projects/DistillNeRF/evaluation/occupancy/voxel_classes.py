"""What tells the classes of voxels: nothing, class codes, phrases, or label maps of the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.views import Views
from ...modules.heads import ColorHead, FeatureHead
from ...semantics.classes import CHANNELS, CLASSES, OCC3D_ID, SKY, code_book
from ...semantics.label_sets import LABEL_SETS
from ...semantics.phrases import PhraseClassifier, check_phrases
from ...semantics.text_encoders import COMBINATIONS, Encoder, encoder_name
from ...utils.errors import InputError
from .from_scene import Classify
from .label_maps import LabelMap, LabelVotes
from .scene_voxels import SceneVoxels

# What tells the class of a voxel.
SEMANTICS = ('none', 'codes', 'text', 'labels')


@dataclass(frozen=True)
class Semantics:
    """What tells the classes of voxels.

    Attributes:
        kind: ``none``: everything is "others"; ``codes``: the features that the densest cell of a voxel renders are
            codes of MiniTown's classes; ``text``: these features are compared with phrases; ``labels``: pixels of
            label maps of the input images vote.
        text_encoder: of ``text``: the one that belongs to the features.
        phrases: of ``text``: those of each class; None: the usual ones.
        combine: of ``text``: a class is as like as the ``best`` of its phrases, or their ``mean``.
        label_set: of ``labels``: what their numbers are.
    """

    kind: str = 'none'
    text_encoder: Encoder = None
    phrases: Mapping[str, Sequence[str]] | None = None
    combine: str | None = None
    label_set: str | None = None

    def check(self, name: Callable[[str], str] = str) -> None:
        """Refuse settings that mean nothing, or do nothing.

        Args:
            name: what the user calls a setting, such as ``--label-set``.

        Raises:
            InputError: there is one.
        """
        if self.kind not in SEMANTICS:
            raise InputError(f'{name("semantics")} is {self.kind!r}; choose {", ".join(SEMANTICS)}')
        for kind, settings in {'text': ('text_encoder', 'phrases', 'combine'), 'labels': ('label_set',)}.items():
            if self.kind != kind and (idle := [one for one in settings if getattr(self, one) is not None]):
                raise InputError(f'{name(idle[0])} does nothing without {name("semantics")} {kind}; leave it away')
        if self.kind == 'labels' and self.label_set not in LABEL_SETS:
            raise InputError(f'{name("label_set")} is {self.label_set!r}; choose one of {", ".join(LABEL_SETS)}')
        if self.combine not in (None, *COMBINATIONS):
            raise InputError(f'{name("combine")} is {self.combine!r}; choose {" or ".join(COMBINATIONS)}')
        if self.phrases is not None:
            check_phrases(self.phrases, name('phrases'))

    def __str__(self) -> str:
        if self.kind == 'text':
            return (
                f'text ({encoder_name(self.text_encoder)}, {self.combine or COMBINATIONS[0]} of the phrases of a class)'
            )
        return f'labels ({self.label_set})' if self.kind == 'labels' else self.kind


class VoxelClassifier:
    """Make, for each sample, what tells the classes of its voxels.

    Args:
        semantics: checked settings.
        head: of the network.
        where: for messages.
        name: what the user calls a setting.

    Raises:
        InputError: the head renders no such features, or the text encoder does not fit them.
    """

    def __init__(
        self, semantics: Semantics, head: ColorHead | FeatureHead, where: object, name: Callable[[str], str] = str
    ) -> None:
        self._semantics, self._where, self._name = semantics, where, name
        self._by_features: Classify | None = None
        if semantics.kind == 'codes':
            _require_features(head, f'{where}: {name("semantics")} codes', f'{name("semantics")} none', CHANNELS)
            self._by_features = by_features(classify_codes)
        elif semantics.kind == 'text':
            _require_features(head, f'{where}: {name("semantics")} text', f'{name("semantics")} none')
            channels = head.settings['out_channels']
            combine = semantics.combine or COMBINATIONS[0]
            phrases = PhraseClassifier(semantics.text_encoder, semantics.phrases, channels, combine)
            self._by_features = by_features(phrases.classes)

    def of_sample(self, views: Views | None, label_maps: Sequence[LabelMap] | None) -> Classify | None:
        """Return what tells the classes of the voxels of a sample; None for nothing.

        Args:
            views: its input views; only those of ``labels`` are looked at.
            label_maps: of these images, as a dataset with ``label_maps`` has them.

        Raises:
            InputError: there are no label maps, or one is damaged.
        """
        if self._semantics.kind != 'labels':
            return self._by_features
        if views is None or label_maps is None:
            raise InputError(
                f'{self._where}: {self._name("semantics")} labels needs label maps; say where they are with '
                'test_dataloader.dataset.label_maps=DIR (docs/EVALUATION.md)'
            )
        return LabelVotes(views.cameras, label_maps, self._semantics.label_set)


def by_features(classify: Callable[[Tensor], Tensor]) -> Classify:
    """Return what tells the classes of voxels by the features ``(N, C)`` that their densest cells render alone."""

    def of_voxels(voxels: SceneVoxels) -> Tensor:
        return classify(voxels.features()).byte()

    return of_voxels


def classify_codes(features: Tensor) -> Tensor:
    """Return the Occ3D class ``(N,)`` uint8 whose code of MiniTown is most like features ``(N, 64)``; never the sky."""
    known = [number for number in range(len(CLASSES)) if number != SKY]
    codes = torch.from_numpy(code_book()[known]).to(features)
    best = (F.normalize(features, dim=1) @ codes.T).argmax(1)
    return torch.from_numpy(OCC3D_ID[known]).to(features.device)[best]


def _require_features(head: ColorHead | FeatureHead, asked: str, instead: str, channels: int | None = None) -> None:
    """Check that a head renders features, of so many channels.

    Raises:
        InputError: it does not.
    """
    if head.renders == 'features' and channels in (None, head.settings['out_channels']):
        return
    what = 'features' if channels is None else f'the {channels} channels of the class codes of MiniTown'
    raise InputError(
        f'{asked} needs a network that renders {what}, such as model_wrapper_minitown_features.py; give that, or '
        f'{instead}'
    )
