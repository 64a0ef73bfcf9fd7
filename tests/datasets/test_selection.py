"""Keys of targets by hand."""

from __future__ import annotations

import random

from projects.DistillNeRF.datasets.view_records import CURRENT, one_neighbour_each, whole_frames


def test_whole_frames_end_with_the_current_one():
    assert CURRENT == 0
    assert whole_frames('AB', (-2, -1)) == [(-2, 'A'), (-2, 'B'), (-1, 'A'), (-1, 'B'), (0, 'A'), (0, 'B')]
    assert whole_frames('AB', ()) == [(0, 'A'), (0, 'B')]


def test_every_camera_draws_its_own_neighbour():
    random.seed(0)
    drawn = [one_neighbour_each('ABC') for _ in range(50)]
    assert all([name for _, name in keys] == list('ABCABC') for keys in drawn)
    assert all([offset for offset, _ in keys[3:]] == [0, 0, 0] for keys in drawn)
    assert {tuple(offset for offset, _ in keys[:3]) for keys in drawn} == {
        (a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)
    }
