"""The cases of a run and the valid inputs that they damage."""

from __future__ import annotations

import pytest

from tests.fuzz.cases import Subject, subject
from tests.fuzz.entrances import entrances


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case: ``--fuzz-count`` of ``--fuzz-seed``."""
    if 'number' in metafunc.fixturenames:
        metafunc.parametrize('number', range(metafunc.config.getoption('fuzz_count')))


@pytest.fixture(scope='session')
def subjects(tmp_path_factory) -> list[Subject]:
    """Every entrance with its valid input; tests must not change it."""
    folder = tmp_path_factory.mktemp('fuzz')
    return [subject(entrance, folder / entrance.name) for entrance in entrances(folder)]
