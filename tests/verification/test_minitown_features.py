"""The comparison of features with MiniTown's: maps of the classes, and what the town shows from beside."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.datasets.teacher_files import VIRTUAL_VIEWS
from projects.DistillNeRF.scene_nerf.export import VIEWS
from projects.DistillNeRF.scene_nerf.teacher import TeacherRendering
from projects.DistillNeRF.semantics.classes import SKY, code_book
from tests.helpers.boxtown import SMALL, BoxTown
from tests.helpers.oracle import town_drive
from verification import minitown_features
from verification.minitown_features import TrueClasses, make, score


@pytest.fixture(autouse=True)
def boxes(monkeypatch):
    """The town of the fixture is one of boxes."""
    monkeypatch.setattr(minitown_features, 'town_of', lambda settings, index: BoxTown())


def test_maps_are_codes_of_the_true_classes(town, tmp_path):
    assert make(town, tmp_path, ['minitown-0001']) == 18
    images = [image for image in town_drive(town).images if image.frame is not None]
    for image in images:
        classes = np.array(Image.open(image.truth['classes']))
        np.testing.assert_allclose(np.load(tmp_path / image.features), code_book()[classes], atol=1e-3)
    assert len(list(tmp_path.rglob('*.npy'))) == len(images)


def test_the_town_shows_what_was_written(town):
    true = TrueClasses(town, 'minitown-0001')
    for image in (image for image in town_drive(town).images if image.frame == 1):
        assert (true.of(image, '0_0_0') == np.array(Image.open(image.truth['classes']))).mean() > 0.999
        for view in VIRTUAL_VIEWS:
            depth = np.load(town / f'truth/virtual/{view}/depth/{image.camera}/{Path(image.path).stem}.npy')
            assert ((true.of(image, view) == SKY) == np.isnan(depth)).mean() > 0.999


def test_a_teacher_that_repeats_the_original_view_is_as_good_as_that(town):
    """And half of it unknown: filled with what is beside."""
    true, size = TrueClasses(town, 'minitown-0001'), (SMALL['height'], SMALL['width'])
    images = {image.timestamp: image for image in town_drive(town).images}

    class Repeating:
        def render(self, cameras, timestamp, recorded):
            assert [one is None for one in recorded] == [False, True, True, True]
            codes = torch.from_numpy(code_book()[true.of(recorded[0], '0_0_0')]).permute(2, 0, 1)
            features = codes.repeat(4, 1, 1, 1)
            features[3, :, :, :40] = torch.nan
            nothing = torch.zeros(4, *size)
            return TeacherRendering(nothing, nothing, features=features)

    settings = SimpleNamespace(roots={'truth': str(town)}, scene='minitown-0001', image_size=size)
    settings.drive = lambda: town_drive(town)
    found = score(SimpleNamespace(settings=lambda: settings, open=Repeating))
    assert set(found) == set(VIEWS) and len(images) > 18
    assert found['0_0_0'] == pytest.approx({'cosine': 1, 'right_class': 1, 'unknown': 0, 'cosine_of_original': 1})
    left = found['-1_0_0']
    assert left['cosine'] == pytest.approx(left['cosine_of_original']) and left['cosine'] < 0.99
    assert found['0_-1_0']['unknown'] == pytest.approx(0.4)
