"""In which size a network sees an image: as the processors of transformers have it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from projects.DistillNeRF.foundation_models.input_size import preprocessor_size
from tests.helpers.refusals import assert_refused

IMAGES = [(54, 96), (90, 160), (96, 54), (70, 70), (51, 97)]
DPT = {'size': {'height': 56, 'width': 56}, 'keep_aspect_ratio': True, 'ensure_multiple_of': 14}


@pytest.mark.parametrize('image', IMAGES)
@pytest.mark.parametrize(
    ('kind', 'settings'),
    [
        ('dpt', DPT),
        ('dpt', {**DPT, 'size': {'height': 84, 'width': 56}}),
        ('dpt', {'size': {'height': 40, 'width': 60}}),
        ('segformer', {'size': {'height': 40, 'width': 60}}),
        ('segformer', {'do_resize': False}),
        ('mask2former', {'size': {'shortest_edge': 40, 'longest_edge': 60}, 'size_divisor': 32}),
        ('mask2former', {'size': {'shortest_edge': 40, 'longest_edge': 600}, 'size_divisor': 32}),
    ],
)
def test_sizes_are_those_of_the_processors(tmp_path, kind, settings, image):
    pytest.importorskip('transformers')
    import importlib

    module = importlib.import_module(f'transformers.models.{kind}.image_processing_pil_{kind}')
    name = {'dpt': 'DPT', 'segformer': 'Segformer', 'mask2former': 'Mask2Former'}[kind]
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(settings))
    processor = getattr(module, f'{name}ImageProcessorPil').from_pretrained(tmp_path)
    wanted = processor(images=np.zeros((*image, 3), np.uint8), return_tensors='pt')['pixel_values'].shape[-2:]
    assert preprocessor_size(settings, image, 'net') == tuple(wanted)


def test_old_settings_with_one_number():
    assert preprocessor_size({'size': 512}, (54, 96), 'net') == (512, 512)
    assert preprocessor_size({'size': 54, 'max_size': 1000}, (108, 192), 'net') == (54, 96)


@pytest.mark.parametrize(
    ('settings', 'word'),
    [
        ({}, 'no preprocessor_config.json'),
        ({'size': 512, 'do_center_crop': True}, 'cuts the middle'),
        ({'size': None}, 'size'),
        ({'size': {'height': 512}}, 'height'),
        ({'size': {'height': 'a', 'width': 3}}, 'size'),
        ({'size': 512, 'size_divisor': 'a'}, 'size_divisor'),
    ],
)
def test_rules_that_are_not_known_are_refused(settings, word):
    assert_refused(lambda: preprocessor_size(settings, (54, 96), 'net'), word, start='net')
