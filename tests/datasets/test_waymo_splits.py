"""Parts of NOTR, and lists of segments."""

from __future__ import annotations

from itertools import pairwise

import pytest

from projects.DistillNeRF.datasets.waymo_splits import (
    COUNT,
    SPLITS,
    STATIC32,
    names_of,
    read_splits,
    read_wanted,
    segment_name,
)
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.waymo_like import training_segments

NAME = '10061305430875486848_1080_000_1100_000'


def test_there_are_120_segments_of_which_none_is_in_two_parts():
    assert {split: len(numbers) for split, numbers in SPLITS.items()} == {
        'static32': 32,
        'dynamic32': 32,
        'diverse56': 56,
    }
    numbers = [number for part in SPLITS.values() for number in part]
    assert len(set(numbers)) == 120 and max(numbers) < COUNT


def test_known_names_are_in_the_order_of_their_numbers():
    """The test of a list relies on it: NOTR numbers the names in byte order."""
    assert list(STATIC32) == sorted(STATIC32)
    assert all(one < other for one, other in pairwise(STATIC32.values()))
    assert all(segment_name(name) == name for name in STATIC32.values())


@pytest.mark.parametrize(
    'text',
    [
        NAME,
        f'segment-{NAME}_with_camera_labels.tfrecord',
        f'gs://waymo_open_dataset_v_1_4_3/individual_files/training/segment-{NAME}_with_camera_labels.tfrecord',
        f'individual_files_training_segment-{NAME}_with_camera_labels.tfrecord',
    ],
)
def test_a_name_is_found_in_files_and_addresses(text):
    assert segment_name(text) == NAME


def test_a_list_has_names_and_numbers(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text(f'# mine\n3, seg100613, 0, 150\n\n{NAME}  # the same\nsegment-{NAME}_with_camera_labels\n16\n3\n')
    assert read_wanted(path) == ['3', NAME, '16']
    assert names_of(['3', NAME], None, 'x') == [NAME]
    path.write_text('scene-0061\n')
    with pytest.raises(InputError, match="line 1, 'scene-0061', is no name or number"):
        read_wanted(path)
    path.write_text('# nothing\n')
    with pytest.raises(InputError, match='names no segment'):
        read_wanted(path)
    with pytest.raises(InputError, match='give a text file'):
        read_wanted(tmp_path / 'none.txt')


def test_numbers_are_told_by_a_list_of_all_segments():
    training = training_segments()
    shuffled = training[400:] + training[:400]
    assert names_of(['16', '796', '3'], shuffled, 'bucket') == [training[16], training[796], NAME]
    assert names_of(map(str, SPLITS['static32']), shuffled, 'bucket') == list(STATIC32.values())


def test_what_numbers_cannot_be_told_by_is_refused():
    training = training_segments()
    with pytest.raises(InputError, match='segment number 16: its name is in the list of the bucket alone'):
        names_of(['3', '16'], None, 'x')
    with pytest.raises(InputError, match='the numbers are 0 to 797'):
        names_of(['798'], training, 'x')
    with pytest.raises(InputError, match='lists 797 segments, and NOTR numbers 798'):
        names_of(['16'], training[1:], 'bucket')
    other = sorted([*training[1:], '9999999999999999999_100_000_120_000'])
    with pytest.raises(InputError, match=f'segment number 3 is .*, in NOTR {NAME}'):
        names_of(['16'], other, 'bucket')
    # Names need no order.
    assert names_of([NAME], training[:5], 'bucket') == [NAME]


def test_parts_are_chosen_by_name_where_their_names_are_known(tmp_path):
    assert read_splits(['static32'], tmp_path) == list(STATIC32.values())
    with pytest.raises(InputError, match=r'dynamic32.txt: the name of segment number 16 .*download_waymo.py --splits'):
        read_splits(['dynamic32'], tmp_path)
    mine = tmp_path / 'mine.txt'
    mine.write_text(f'{STATIC32[3]}\n19\n')
    (tmp_path / 'dynamic32.txt').write_text('1000_0_000_20_000\n')
    expected = [STATIC32[3], STATIC32[19], '1000_0_000_20_000']
    assert read_splits([str(mine), 'dynamic32'], tmp_path) == expected
    with pytest.raises(InputError, match=r'nothing\.txt'):
        read_splits([str(tmp_path / 'nothing.txt')], tmp_path)
