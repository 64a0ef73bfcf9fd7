"""Box worlds on disk, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.fixtures.boxworld import BoxWorld


@pytest.fixture(scope='session')
def box_root(tmp_path_factory) -> Path:
    """Three frames of the driving and turning box world; tests must not change it."""
    root = tmp_path_factory.mktemp('boxes')
    BoxWorld().write(root)
    return root
