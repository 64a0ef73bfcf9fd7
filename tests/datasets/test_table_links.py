"""nuScenes tables fit together, or are refused with the first record that does not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from projects.DistillNeRF.datasets.converters.table_links import check_links
from projects.DistillNeRF.utils.errors import InputError


def chain(shared: str) -> list[dict]:
    """Three records that lead to each other."""
    links = (('', 'b'), ('a', 'c'), ('b', ''))
    return [{'token': t, 'prev': p, 'next': n, shared: 's'} for t, (p, n) in zip('abc', links, strict=True)]


TABLES = {
    'sample': chain('scene_token'),
    'sample_data': chain('calibrated_sensor_token'),
    'sample_annotation': chain('instance_token'),
    'instance': [{'token': 's', 'nbr_annotations': 3}],
}


def changed(table: str, number: int, **fields) -> dict:
    tables = copy.deepcopy(TABLES)
    tables[table][number].update(fields)
    return tables


def test_tables_that_fit_and_those_that_link_one_way_are_taken():
    check_links(TABLES, Path('v'))
    check_links(changed('sample_data', 0, next=''), Path('v'))
    tables = copy.deepcopy(TABLES)
    for record in tables['sample_data']:
        record['prev'] = ''
    check_links(tables, Path('v'))


@pytest.mark.parametrize(
    ('table', 'number', 'fields', 'words'),
    [
        ('sample', 1, {'next': ''}, 'v/sample.json: c: prev leads to b, which has another next'),
        ('sample_data', 2, {'prev': ''}, 'v/sample_data.json: b: next leads to c, which has another prev'),
        ('sample_annotation', 1, {'instance_token': 't'}, 'another prev or instance_token'),
        ('sample_annotation', 2, {'next': 'd'}, 'c: next leads to d, which is not there'),
        ('sample', 0, {'token': 'b'}, "two records have the token 'b'"),
        ('sample', 0, {'token': ['a']}, 'a record has the token'),
        ('sample', 0, {'next': ['b']}, 'a: next is'),
        (
            'instance',
            0,
            {'nbr_annotations': 2},
            'v/instance.json: s: nbr_annotations is 2, and sample_annotation.json has 3',
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, number, fields, words):
    with pytest.raises(InputError) as error:
        check_links(changed(table, number, **fields), Path('v'))
    assert words in str(error.value)
