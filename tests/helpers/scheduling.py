"""Which tests run in one process: ``pytest -n``."""

from __future__ import annotations

from functools import cache

from xdist.scheduler import LoadScopeScheduling

from tests.helpers.data import ROOT


@cache
def shares_fixtures(path: str) -> bool:
    """Return whether the tests of a file share fixtures that are made once for it."""
    return "scope='module'" in (ROOT / path).read_text()


class SharedFixtures(LoadScopeScheduling):
    """Tests of a file with fixtures of its own for all of them run in one process; others wherever one is free.

    The files with the most tests come first. xdist's own ``--dist loadgroup`` finds no groups with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition('::')[0]
        return path if shares_fixtures(path) else nodeid
