"""What tells the classes of voxels, and settings that are refused."""

from __future__ import annotations

import pytest
import torch

from projects.DistillNeRF.evaluation.occupancy.voxel_classes import (
    SEMANTICS,
    Semantics,
    VoxelClassifier,
    classify_codes,
)
from projects.DistillNeRF.modules.heads import build_head
from projects.DistillNeRF.semantics.classes import CLASSES, OCC3D_ID, SKY, code_book
from projects.DistillNeRF.semantics.occ3d import FREE
from tests.helpers.refusals import assert_refused


def test_codes_are_classes_whatever_their_length_and_never_the_sky():
    codes = torch.from_numpy(code_book())
    known = [number for number in range(len(CLASSES)) if number != SKY]
    assert classify_codes(3 * codes[known]).tolist() == OCC3D_ID[known].tolist()
    assert classify_codes(codes[[SKY]]).item() != FREE


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'kind': 'words'}, ("semantics is 'words'", ', '.join(SEMANTICS))),
        ({'kind': 'codes', 'label_set': 'occ3d'}, ('label_set does nothing without semantics labels',)),
        ({'kind': 'labels', 'combine': 'mean', 'label_set': 'occ3d'}, ('combine does nothing without semantics text',)),
        ({'phrases': {'car': ['car']}}, ('phrases does nothing',)),
        ({'kind': 'labels'}, ('label_set is None', 'cityscapes, minitown, occ3d')),
        ({'kind': 'labels', 'label_set': 'coco'}, ("label_set is 'coco'",)),
        ({'kind': 'text', 'combine': 'sum'}, ("combine is 'sum'", 'best or mean')),
        ({'kind': 'text', 'phrases': {'cars': ['car']}}, ("phrases: 'cars' is no class", 'car,')),
        ({'kind': 'text', 'phrases': {'car': 'car'}}, ("phrases of car are 'car'",)),
        ({'kind': 'text', 'phrases': {'car': []}}, ('phrases of car are []',)),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, words):
    assert_refused(lambda: Semantics(**settings).check(), *words)


def test_codes_and_text_need_a_network_of_features():
    color, small = build_head('color', 4, width=32), build_head('feature', 4, out_channels=8)
    for kind, head, words in (
        ('codes', color, 'renders the 64 channels'),
        ('codes', small, 'renders the 64 channels'),
        ('text', color, 'renders features'),
    ):
        semantics = Semantics(kind)
        assert_refused(
            lambda s=semantics, h=head: VoxelClassifier(s, h, 'here'), words, start=f'here: semantics {kind}'
        )
    semantics = Semantics('text', 'minitown_code_book')
    assert_refused(lambda: VoxelClassifier(semantics, small, 'here'), 'makes vectors of 64 numbers')


def test_labels_need_label_maps():
    labels = VoxelClassifier(Semantics('labels', label_set='occ3d'), build_head('color', 4, width=32), 'here')
    assert_refused(lambda: labels.of_sample(None, None), 'test_dataloader.dataset.label_maps=DIR', start='here: ')
    assert VoxelClassifier(Semantics(), build_head('color', 4, width=32), 'here').of_sample(None, None) is None
