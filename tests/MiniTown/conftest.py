"""A small MiniTown data set of a town with exact answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from projects.MiniTown import scene
from projects.MiniTown.generate import generate
from tests.helpers.boxtown import SMALL, BoxTown


@pytest.fixture
def box_town(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drive scenes through a :class:`BoxTown`."""
    monkeypatch.setattr(scene, 'Town', BoxTown)


@pytest.fixture(scope='session')
def box_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a data set of two scenes with three key frames in a :class:`BoxTown`."""
    root = tmp_path_factory.mktemp('minitown') / 'town'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, 'Town', BoxTown)
        generate(root, **SMALL)
    return root
