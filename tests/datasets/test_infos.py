"""The info format: measurements of a keyframe, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.datasets.infos import (
    check_infos,
    infos_digest,
    lidar_measurements,
    load_infos,
    read_pickle,
    save_infos,
)
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.refusals import assert_refused

# A camera that looks along y of the LiDAR, upright, and its inverse.
LIDAR2CAM = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def record(token: str, previous: str | None = None, following: str | None = None, frame: int = 0) -> dict:
    image = {
        'img_path': f'{token}.png',
        'cam2img': [[80.0, 0, 50], [0, 80, 30], [0, 0, 1]],
        'lidar2cam': LIDAR2CAM.tolist(),
        'cam2global': LIDAR2CAM.T.tolist(),
        'height': 60,
        'width': 100,
        'timestamp': 0.5 * frame,
    }
    return {
        'token': token,
        'scene': 's',
        'frame': frame,
        'timestamp': 0.5 * frame,
        'prev': previous,
        'next': following,
        'ego2global': np.eye(4).tolist(),
        'lidar2global': np.eye(4).tolist(),
        'images': {'A': image},
        'lidar_points': None,
    }


def two() -> list[dict]:
    return [record('a', None, 'b'), record('b', 'a', None, frame=1)]


def test_what_is_written_is_read_again(tmp_path):
    save_infos(tmp_path / 'new/infos.pkl', 'mine', ['A'], two(), split='val')
    metainfo, infos = load_infos(tmp_path / 'new/infos.pkl')
    assert infos == two()
    assert {key: metainfo[key] for key in ('format', 'dataset', 'cameras', 'split')} == {
        'format': 'distillnerf',
        'dataset': 'mine',
        'cameras': ['A'],
        'split': 'val',
    }
    assert metainfo['format_version'] == 1


@pytest.mark.parametrize(
    ('own', 'count', 'expected'),
    [(True, 1, ['own']), (True, 3, ['own', 0, 1]), (True, 9, ['own', 0, 1, 2]), (False, 1, []), (False, 3, [0, 1])],
)
def test_measurements_are_the_own_one_and_the_first_sweeps(own, count, expected):
    info = {'name': 'own', 'lidar_points': {'x': 1} if own else None, 'lidar_sweeps': [{'name': i} for i in range(3)]}
    assert [m['name'] for m in lidar_measurements(info, count)] == expected
    assert lidar_measurements({'lidar_points': None}, 5) == []


def refused(change, *words: str) -> None:
    infos = two()
    change(infos)
    assert_refused(lambda: check_infos(infos, 'x.pkl'), *words, start='x.pkl')


@pytest.mark.parametrize(
    'field', ['scene', 'frame', 'timestamp', 'prev', 'next', 'ego2global', 'lidar2global', 'images', 'lidar_points']
)
def test_every_field_is_needed(field):
    refused(lambda infos: infos[1].pop(field), 'sample b', f'lacks {field}')


@pytest.mark.parametrize('field', ['img_path', 'cam2img', 'lidar2cam', 'cam2global', 'height', 'width', 'timestamp'])
def test_every_field_of_an_image_is_needed(field):
    refused(lambda infos: infos[1]['images']['A'].pop(field), 'sample b, A', f'lacks {field}')


@pytest.mark.parametrize('field', ['ego2global', 'lidar2global'])
def test_poses_of_a_keyframe_are_checked(field):
    refused(
        lambda infos: infos[1].update({field: np.diag([2.0, 1, 1, 1]).tolist()}), f'sample b: {field}', 'orthonormal'
    )


@pytest.mark.parametrize('field', ['cam2global', 'lidar2cam'])
def test_poses_of_a_camera_are_checked(field):
    bad = {field: np.diag([2.0, 1, 1, 1]).tolist()}
    refused(lambda infos: infos[1]['images']['A'].update(bad), f'sample b, A: {field}', 'orthonormal')


def test_intrinsics_belong_to_the_size_height_then_width():
    refused(lambda infos: infos[1]['images']['A'].update(height=10), 'sample b, A: cam2img', 'principal point')
    tall = two()
    tall[0]['images']['A'].update(height=120, width=30, cam2img=[[80.0, 0, 14], [0, 80, 110], [0, 0, 1]])
    check_infos(tall, 'x.pkl')


def test_links_stay_within_the_scene_and_tokens_are_unique():
    refused(lambda infos: infos[0].update(next='z'), 'sample a: next leads to z')
    refused(lambda infos: infos[1].update(scene='t'), 'is not in its scene')
    refused(lambda infos: infos[1].update(token='a', prev=None), 'two samples share a token')
    with pytest.raises(InputError, match='holds no samples'):
        check_infos([], 'x.pkl')


@pytest.mark.parametrize(('value', 'found'), [([[1.0, 2.0]], r'\(1, 2\)'), ('text', 'no matrix of numbers')])
def test_matrices_of_another_shape_are_named(value, found):
    infos = two()
    infos[1]['lidar2global'] = value
    with pytest.raises(InputError, match=rf'sample b: lidar2global is {found}, not \(4, 4\)'):
        check_infos(infos, 'x.pkl')


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        ({'format': 'other'}, 'of another program'),
        ({'format_version': 2}, 'format version 2, not 1'),
        ({'cameras': []}, 'names no cameras'),
    ],
)
def test_metainfo_of_other_files_is_refused(tmp_path, change, word):
    path: Path = tmp_path / 'infos.pkl'
    save_infos(path, 'mine', ['A'], two())
    content = pickle.loads(path.read_bytes())
    content['metainfo'] |= change
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=word):
        load_infos(path)


def test_damaged_pickles_are_named(tmp_path):
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(two())[:-20])
    with pytest.raises(InputError, match=r'a\.pkl: not a readable pickle .*; the hint'):
        read_pickle(tmp_path / 'a.pkl', 'the hint')


def test_the_digest_tells_samples_cameras_and_poses_but_not_last_bits(tmp_path):
    def digest(change=lambda infos: None) -> str:
        infos = two()
        change(infos)
        save_infos(tmp_path / 'infos.pkl', 'town', ['A'], infos)
        return infos_digest(tmp_path / 'infos.pkl')

    def image(**values):
        return lambda infos: infos[1]['images']['A'].update(values)

    intrinsics = np.array(two()[1]['images']['A']['cam2img'])
    same = [
        image(cam2img=(intrinsics + 1e-12).tolist()),
        image(cam2img=intrinsics),
        image(cam2img=np.where(intrinsics == 0, -0.0, intrinsics).tolist()),
        image(width=np.int64(100)),
    ]
    other = [
        image(cam2img=(intrinsics + np.diag([0.01, 0.01, 0])).tolist()),
        image(img_path='other.png'),
        lambda infos: infos[1].update(token='other', prev=None) or infos[0].update(next=None),
        lambda infos: infos.pop() and infos[0].update(next=None),
    ]
    assert {digest(change) for change in same} == {digest()}
    assert len({digest(), *map(digest, other)}) == 5
