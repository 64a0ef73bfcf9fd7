"""Cameras in ring order by geometry, and which of them are taken."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters.common import choose_cameras, common_cameras, ring_order
from projects.DistillNeRF.utils.errors import InputError

NUSCENES = {'FL': -55, 'F': 0, 'FR': 55, 'BR': 110, 'B': 180, 'BL': -110}
PANDASET = {'FL': -57.8, 'F': -0.3, 'FR': 57.8, 'BR': 88.6, 'B': 178.3, 'BL': -91.6}


def record(yaws: dict[str, float], pitch: float = 0.0) -> dict:
    """Cameras that look so many degrees to the right of y, and so many down."""
    images = {}
    for name, degrees in yaws.items():
        yaw, down = np.radians(degrees), np.radians(pitch)
        right = np.array([np.cos(yaw), -np.sin(yaw), 0])
        axis = np.array([np.sin(yaw) * np.cos(down), np.cos(yaw) * np.cos(down), -np.sin(down)])
        lidar2cam = np.eye(4)
        lidar2cam[:3, :3] = np.stack([right, np.cross(axis, right), axis])
        images[name] = {'lidar2cam': lidar2cam.tolist()}
    return {'images': images}


@pytest.mark.parametrize('rig', [NUSCENES, PANDASET])
@pytest.mark.parametrize('seed', range(4))
def test_standard_rigs_come_out_in_the_published_order(rig, seed):
    names = list(np.random.default_rng(seed).permutation(list(rig)))
    assert ring_order([record({name: rig[name] for name in names})]) == ('FL', 'F', 'FR', 'BR', 'B', 'BL')


@pytest.mark.parametrize(
    ('yaws', 'order'),
    [
        ({'B': 180, 'F': 0}, ('F', 'B')),
        ({'BL': -120, 'F': 0, 'BR': 120}, ('F', 'BR', 'BL')),
        ({'F': 2, 'FR': 50, 'FL': -50}, ('FL', 'F', 'FR')),
        ({'B': -179, 'L': -90, 'R': 90}, ('R', 'B', 'L')),
        ({'only': 77}, ('only',)),
    ],
)
def test_a_part_of_a_rig_keeps_its_order(yaws, order):
    assert ring_order([record(yaws, pitch=10)]) == order


def test_cameras_of_all_records_are_in_the_ring_and_those_of_every_record_are_common(capsys):
    infos = [record({'F': 0, 'B': 180}), record({'F': 0, 'B': 180, 'R': 90})]
    assert ring_order(infos) == ('F', 'R', 'B')
    assert common_cameras(infos, 'x.pkl') == ('F', 'B')
    assert capsys.readouterr().err == (
        'warning: x.pkl: only some of its 2 samples have R (1): the info file names the other 2 cameras, which all '
        'samples have\n'
    )
    with pytest.raises(InputError, match=r'x.pkl: no camera is in all of its 2 samples \(F in 1 of them\)'):
        common_cameras([record({'F': 0}), record({'B': 180})], 'x.pkl')


def test_cameras_are_chosen_by_name():
    assert choose_cameras(('a', 'b', 'c'), None, 'set') == ('a', 'b', 'c')
    assert choose_cameras(('a', 'b', 'c'), ['c', 'a'], 'set') == ('a', 'c')
    with pytest.raises(InputError, match='set: has no camera d; give --cameras some of a, b'):
        choose_cameras(('a', 'b'), ['d'], 'set')
    with pytest.raises(InputError, match='names a twice'):
        choose_cameras(('a', 'b'), ['a', 'a'], 'set')
    with pytest.raises(InputError, match='set: holds no camera'):
        choose_cameras((), None, 'set')
