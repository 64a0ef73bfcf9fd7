"""Damaged and contradictory inputs: refused in one line, warned of, or without effect; never silently wrong.

Other inputs than those of every day: ``pytest tests/fuzz --fuzz-seed 7 --fuzz-count 500``.
"""

from __future__ import annotations

from tests.fuzz.cases import draw, judge


def test_a_damaged_input(subjects, number, pytestconfig, tmp_path):
    case = draw(subjects, pytestconfig.getoption('fuzz_seed'), number)
    found, wrong = judge(case, tmp_path / 'case')
    assert not wrong, f'{case}: {found}: {wrong}'
