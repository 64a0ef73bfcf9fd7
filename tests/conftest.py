"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """The folder of real data and parity vectors beside the repository; tests that need it skip without it."""
    shared = ROOT.parent / 'shared'
    if not shared.is_dir():
        pytest.skip(f'{shared} is absent: real data and parity vectors are not part of the repository')
    return shared
