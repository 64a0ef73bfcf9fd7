"""Damaged and contradictory inputs: refused in one line, warned of, or without effect; never silently wrong.

Other inputs than those of every day: ``pytest tests/fuzz --fuzz-seed 7 --fuzz-count 500``.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from tests.fuzz.attempts import Attempt
from tests.fuzz.cases import draw, judge
from tests.fuzz.operations import OPERATIONS
from tests.fuzz.oracle import verdict
from tests.fuzz.out_of_reach import TABLE


def test_a_damaged_input(subjects, number, pytestconfig, tmp_path):
    case = draw(subjects, pytestconfig.getoption('fuzz_seed'), number)
    found, wrong = judge(case, tmp_path / 'case')
    assert not wrong, f'{case}: {found}: {wrong}'


def test_what_is_out_of_reach_names_fields_that_exist(subjects):
    """An exception that fits nothing may one day hide something."""
    for rule in TABLE:
        fields = [
            (subject.entrance.name, file, field)
            for subject in subjects
            for file, field in subject.fields
            if re.search(rule.entrance, subject.entrance.name)
        ]
        assert any(re.search(rule.file, file) and re.search(rule.field, field) for _, file, field in fields), rule
        assert any(re.search(rule.operation, operation) for operation in OPERATIONS), rule


VALID = Attempt(0, ['warning: /v/a: dark'], result={'depth': 1.0}, folder=Path('/v'))
REFUSED = Attempt(2, ['error: {folder}/a.json: broken'])


@pytest.mark.parametrize(
    ('made', 'left', 'expected'),
    [
        (VALID, {}, ('equal', False)),
        (dataclasses.replace(VALID, result={'depth': 2.0}), {}, ('silent', True)),
        (dataclasses.replace(VALID, result={}), {}, ('silent', True)),
        (dataclasses.replace(VALID, lines=['warning: a.json: odd'], result={'depth': 2.0}), {}, ('warned', False)),
        (dataclasses.replace(VALID, lines=['warning: b.json: odd'], result={'depth': 2.0}), {}, ('silent', True)),
        (REFUSED, {}, ('refused', False)),
        (REFUSED, {'.tmp': b''}, ('leftovers', True)),
        (REFUSED, {'a.pkl': b''}, ('refused', True)),
        (Attempt(2, ['error: nothing in particular']), {}, ('refused', True)),
        (Attempt(2, ['error: {folder}/a.json: broken', 'more']), {}, ('refused', True)),
        (Attempt(1, ['error: {folder}/a.json: broken']), {}, ('refused', True)),
        (Attempt(None, [], 'Traceback'), {}, ('traceback', True)),
    ],
)
def test_the_judgment(tmp_path, made, left, expected):
    made = dataclasses.replace(made, lines=[line.format(folder=tmp_path) for line in made.lines])
    found, wrong = verdict(made, VALID, tmp_path, {'a.json'}, left, {})
    assert (found, bool(wrong)) == expected
