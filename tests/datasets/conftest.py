"""Folders of own images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.boxworld import CAMERAS, save
from tests.helpers.own_rig import SIZE, WORLD, picture, plane, record, write


@pytest.fixture(scope='module')
def pristine(tmp_path_factory) -> Path:
    """Three cameras of the box world."""
    folder = write(tmp_path_factory.mktemp('own'), [record(camera) for camera in CAMERAS[:3]])
    for camera in CAMERAS[:3]:
        save(folder / f'{camera}.png', picture(camera, plane(WORLD.intrinsics, *SIZE)))
    return folder


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    """The same, for a test that changes something."""
    return shutil.copytree(pristine, tmp_path / 'own')
