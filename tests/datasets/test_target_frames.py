"""Targets of a sample: neighboring keyframes, as a slow walk from frame to frame finds them."""

from __future__ import annotations

import random

import pytest

from projects.DistillNeRF.datasets.target_frames import (
    CURRENT,
    NeighborTargets,
    existing,
    one_neighbor_each,
    one_new_view_each,
    whole_frames,
)

# Two scenes, whose records do not stand in order of time.
INFOS = [
    {'token': 'b1', 'prev': 'b0', 'next': None},
    {'token': 'a2', 'prev': 'a1', 'next': None},
    {'token': 'a0', 'prev': None, 'next': 'a1'},
    {'token': 'b0', 'prev': None, 'next': 'b1'},
    {'token': 'a1', 'prev': 'a0', 'next': 'a2'},
]


@pytest.mark.parametrize('offsets', [(), (1,), (-1, 1), (-2, -1)])
def test_neighbors_are_those_of_the_same_scene(offsets):
    targets = NeighborTargets(INFOS, offsets)
    for position, info in enumerate(INFOS):
        scene, number = info['token']
        # Frames are numbered in their scene.
        tokens = {offset: f'{scene}{int(number) + offset}' for offset in offsets}
        found = {offset: INFOS[other]['token'] for offset, other in targets.others(position).items()}
        known = {one['token'] for one in INFOS}
        assert found == {offset: token for offset, token in tokens.items() if token in known}


def test_targets_are_whole_frames_or_one_neighbor_of_each_camera():
    assert NeighborTargets(INFOS, (-2, -1)).keys(1, 'XY') == whole_frames('XY', (-2, -1))
    keys = NeighborTargets(INFOS, (-1, 1), one_each=True).keys(1, 'XY')
    assert [camera for _, camera in keys] == list('XYXY') and {offset for offset, _ in keys[:2]} <= {-1, 1}
    assert NeighborTargets([], (1,)).keys(0, 'X') == [(1, 'X'), (0, 'X')]


def test_the_current_frame_takes_the_place_of_one_that_does_not_exist():
    notes: list[str] = []
    others = {1: 'anything'}
    assert [existing((offset, 'X'), others, 'a2', notes) for offset in (0, 1, -1)] == [(0, 'X'), (1, 'X'), (0, 'X')]
    assert notes == ['X: frame -1 of a2 does not exist: the current frame is repeated']


def test_whole_frames_end_with_the_current_one():
    assert CURRENT == 0
    assert whole_frames('AB', (-2, -1)) == [(-2, 'A'), (-2, 'B'), (-1, 'A'), (-1, 'B'), (0, 'A'), (0, 'B')]
    assert whole_frames('AB', ()) == [(0, 'A'), (0, 'B')]


def test_every_camera_chooses_its_own_neighbor():
    random.seed(0)
    drawn = [one_neighbor_each('ABC') for _ in range(50)]
    assert all([name for _, name in keys] == list('ABCABC') for keys in drawn)
    assert all([offset for offset, _ in keys[3:]] == [0, 0, 0] for keys in drawn)
    assert {tuple(offset for offset, _ in keys[:3]) for keys in drawn} == {
        (a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)
    }


def test_one_new_view_of_each_camera():
    keys = [(1, 'A'), (-1, 'B'), (0, 'C'), (1, 'D'), *whole_frames('ABCD', ())]
    shifted = [('A', 'left'), ('B', 'right'), ('C', 'left')]
    found = set()
    for seed in range(40):
        random.seed(seed)
        kept, choices = one_new_view_each(keys, shifted)
        assert kept[-4:] == whole_frames('ABCD', ())
        new, names = kept[:-4], [camera for camera, _ in choices]
        # C has no other frame, D no shifted view.
        assert sorted([camera for _, camera in new] + names) == list('ABCD') and 'C' in names and (1, 'D') in new
        assert set(new) <= set(keys) and set(choices) <= set(shifted)
        found.add(tuple(names))
    assert found == {('A', 'B', 'C'), ('A', 'C'), ('B', 'C'), ('C',)}
    assert one_new_view_each(keys, []) == (keys, [])
