"""Images between keyframes: what the nuScenes converter lists, what is refused, and that students never see them."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters import nuscenes
from projects.DistillNeRF.datasets.infos import check_infos, load_infos
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.commands import run
from tests.helpers.dataset import build_dataset
from tests.helpers.rawdata import BOX_CAMERA, write_nuscenes
from tests.helpers.refusals import assert_refused

VERSION = 'v1.0-mini'
WORLD = BoxWorld(size=(12, 20))
BETWEEN = 3


@pytest.fixture(scope='module')
def pristine(tmp_path_factory) -> Path:
    """A scene of three keyframes with three measurements of every sensor between them; tests must not change it."""
    root = tmp_path_factory.mktemp('nuscenes_sweeps')
    write_nuscenes(WORLD, root, {'train': ['scene-a']}, BETWEEN)
    return root


@pytest.fixture
def root(pristine, tmp_path) -> Path:
    return shutil.copytree(pristine, tmp_path / 'raw')


@pytest.fixture(scope='module')
def converted(pristine, tmp_path_factory) -> list[dict]:
    out = tmp_path_factory.mktemp('converted')
    return load_infos(nuscenes.convert(pristine, out, version=VERSION, image_sweeps=True)[0])[1]


@pytest.fixture
def infos(converted) -> list[dict]:
    return copy.deepcopy(converted)


def convert(root: Path, *options: object):
    """The command."""
    return run('create_data', 'nuscenes', '--root-path', root, '--version', VERSION, *options)


def test_images_since_the_keyframe_before_are_listed_oldest_first(converted):
    for info, counts in zip(converted, (0, BETWEEN, BETWEEN), strict=True):
        assert set(info['image_sweeps']) == set(nuscenes.CAMERAS)
        for camera, images in info['image_sweeps'].items():
            assert len(images) == counts
            own = info['images'][camera]['timestamp']
            assert [image['timestamp'] - own for image in images] == pytest.approx([-0.375, -0.25, -0.125][:counts])


def test_images_have_the_pose_of_their_own_time_and_the_calibration_of_their_camera(converted, pristine):
    for number, lag in enumerate((0.75, 0.5, 0.25)):
        for camera, images in converted[2]['image_sweeps'].items():
            image, own = images[number], converted[2]['images'][camera]
            pose = WORLD.ego2global(2 - lag - WORLD.lags[nuscenes.CAMERAS.index(camera)])
            np.testing.assert_allclose(image['cam2global'], pose @ WORLD.cam2ego(BOX_CAMERA[camera]), atol=1e-9)
            np.testing.assert_allclose(image['cam2ego'], WORLD.cam2ego(BOX_CAMERA[camera]), atol=1e-9)
            assert all(image[key] == own[key] for key in ('cam2img', 'height', 'width'))
            assert image['img_path'].startswith(f'sweeps/{camera}/') and (pristine / image['img_path']).is_file()


def test_nothing_else_changes_and_nothing_is_listed_without_the_option(converted, pristine, tmp_path):
    _, plain = load_infos(nuscenes.convert(pristine, tmp_path, version=VERSION)[0])
    assert plain == [{key: value for key, value in info.items() if key != 'image_sweeps'} for info in converted]


def test_all_lidar_since_the_keyframe_before_is_listed_even_if_fewer_are_asked_for(pristine, tmp_path):
    path, *_ = nuscenes.convert(pristine, tmp_path, version=VERSION, sweeps=2, image_sweeps=True)
    infos = load_infos(path)[1]
    assert [len(info['lidar_sweeps']) for info in infos] == [0, BETWEEN, BETWEEN]
    named = {sweep['lidar_points']['lidar_path'] for info in infos for sweep in (info, *info['lidar_sweeps'])}
    everything = {str(file.relative_to(pristine)) for file in pristine.glob('s*s/LIDAR_TOP/*')}
    assert named == everything
    path, *_ = nuscenes.convert(pristine, tmp_path, version=VERSION, sweeps=0, image_sweeps=True)
    assert not any(info['lidar_sweeps'] for info in load_infos(path)[1])


def test_missing_images_are_left_out_and_counted(root):
    gone = sorted((root / 'sweeps/CAM_BACK').iterdir())[:2]
    for path in gone:
        path.unlink()
    result = convert(root, '--image-sweeps')
    assert result.code == 0 and '2 of 36 images between keyframes are missing and left out' in result.err
    infos = load_infos(root / 'nuscenes_infos_train.pkl')[1]
    assert [len(info['image_sweeps']['CAM_BACK']) for info in infos] == [0, 1, 3]
    assert [len(info['image_sweeps']['CAM_FRONT']) for info in infos] == [0, 3, 3]


def test_tables_without_images_between_keyframes_say_so(tmp_path):
    write_nuscenes(WORLD, tmp_path, {'train': ['scene-a']})
    result = convert(tmp_path, '--image-sweeps')
    assert result.code == 0 and 'no keyframe has images between it and the keyframe before' in result.err


def test_a_damaged_image_is_refused(root):
    path = sorted((root / 'sweeps/CAM_BACK').iterdir())[0]
    path.write_bytes(path.read_bytes()[:20])
    assert_refused(convert(root, '--image-sweeps'), path.name)


def test_links_that_lead_round_are_refused(root):
    """The tables name what comes before alone."""
    path = root / VERSION / 'sample_data.json'
    records = json.loads(path.read_text())
    for record in records:
        record['next'] = ''
        if record['token'] == 'scene-a-1-CAM_BACK-3':
            record['prev'] = 'scene-a-1-CAM_BACK-1'
    path.write_text(json.dumps(records))
    assert_refused(convert(root, '--image-sweeps'), 'prev leads round to it again')


def test_mmdet3d_has_none(root):
    options = ('--from-info', root / 'any.pkl', '--image-sweeps')
    assert_refused(run('create_data', 'nuscenes', '--root-path', root, *options), '--image-sweeps would do nothing')


def test_students_ignore_them(pristine, tmp_path):
    nuscenes.convert(pristine, tmp_path, version=VERSION, image_sweeps=True)
    prefix = {'img': str(pristine), 'lidar': str(pristine)}
    options = {'ann_file': 'nuscenes_infos_train.pkl', 'data_prefix': prefix, 'lidar_sweeps': 3}
    sizes = {'image_size': (12, 20), 'render_size': (6, 10)}
    listed = build_dataset(tmp_path, **options, **sizes)
    nuscenes.convert(pristine, tmp_path, version=VERSION)
    plain = build_dataset(tmp_path, **options, **sizes)
    assert listed.data_bytes.nbytes == plain.data_bytes.nbytes, 'not even in memory'
    sample, other = listed[1], plain[1]
    for key in ('images', 'lidar_depth'):
        ours, theirs = (getattr(part['inputs']['target_views'], key).nan_to_num(-1) for part in (sample, other))
        assert ours.equal(theirs)


def sweep(**values):
    """Change an image of the front camera between the first two keyframes."""
    return lambda infos: infos[1]['image_sweeps']['CAM_FRONT'][1].update(values)


def change(key: str, function):
    return lambda infos: sweep(**{key: function(infos[1]['image_sweeps']['CAM_FRONT'][1][key])})(infos)


WRONG = {
    'no record of cameras': (lambda infos: infos[1].update(image_sweeps=[]), 'image_sweeps is'),
    'no list': (lambda infos: infos[1]['image_sweeps'].update(CAM_FRONT={}), 'CAM_FRONT: image_sweeps is'),
    'no record': (lambda infos: infos[1]['image_sweeps'].update(CAM_FRONT=[3]), 'image sweep 0 is no record'),
    'unknown camera': (lambda infos: infos[1]['image_sweeps'].update(CAM_X=[]), 'CAM_X: has image_sweeps, but no'),
    'no pose': (lambda infos: infos[1]['image_sweeps']['CAM_FRONT'][1].pop('cam2global'), 'lacks cam2global'),
    'not rigid': (sweep(cam2global=np.eye(4).tolist()[:3]), 'CAM_FRONT, image sweep 1: cam2global'),
    'far away': (
        change('cam2global', lambda pose: (np.array(pose) + np.eye(4)[3] * [[100], [0], [0], [0]]).tolist()),
        'image sweep 1: cam2global is 99.5',
    ),
    'focal length': (sweep(cam2img=[[0.1, 0, 10], [0, 0.1, 6], [0, 0, 1]]), 'image sweep 1: cam2img'),
    'size': (sweep(height=24), 'its image is 20x24, that of the keyframe 20x12'),
    'time of a neighbor': (change('timestamp', lambda time: time - 0.2), 'image sweep 1: its timestamp'),
    'time before the keyframe before': (
        lambda infos: infos[1]['image_sweeps']['CAM_FRONT'][0].update(timestamp=-3.0),
        'image sweep 0: its timestamp',
    ),
    'time of the keyframe': (change('timestamp', lambda time: time + 0.25), 'image sweep 1: its timestamp'),
    'order': (lambda infos: infos[1]['image_sweeps']['CAM_FRONT'].reverse(), 'image sweep 1: its timestamp'),
    'named twice': (
        lambda infos: sweep(img_path=infos[0]['images']['CAM_FRONT']['img_path'])(infos),
        'name one image file',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', WRONG)
def test_wrong_records_are_refused(infos, name):
    damage, words = WRONG[name]
    damage(infos)
    with pytest.raises(InputError) as caught:
        check_infos(infos, 'infos.pkl')
    assert words in str(caught.value) and '\n' not in str(caught.value)
    assert 'create_data.py' in str(caught.value) or 'calibration' in str(caught.value)


def test_an_image_in_the_folder_of_another_camera_is_noticed(infos, capsys):
    sweep(img_path='sweeps/CAM_BACK/x.png')(infos)
    check_infos(infos, 'infos.pkl')
    assert 'lies in the folder of camera CAM_BACK' in capsys.readouterr().err


TIMED = {
    **{'origins': [[0.0] * 3] * 2, 'sensor_column': 4, 'time_column': 3},
    **{'origins_velocity': [[0.0] * 3] * 2, 'origins_delay': -0.05},
}
ORIGINS = {
    'no numbers': ({'origins': 'x'}, 'origins is'),
    'flat': ({'origins': [0.0, 0.0, 0.0]}, 'origins is'),
    'NaN': ({'origins': [[0.0, 0.0, float('nan')]]}, 'origins is'),
    'two sensors, no column': ({'origins': [[0.0] * 3] * 2}, 'has origins of 2 sensors, and sensor_column is None'),
    'column without origins': ({'sensor_column': 4}, 'sensor_column is 4'),
    'column of a coordinate': ({'origins': [[0.0] * 3] * 2, 'sensor_column': 2}, 'sensor_column is'),
    'column of times of a coordinate': ({'time_column': 0}, 'time_column is'),
    'column of times that is not there': ({'time_column': 5}, 'time_column is 5, of 5 columns'),
    'one column for both': ({**TIMED, 'time_column': 4}, 'time_column and sensor_column are both 4'),
    'velocities of no origins': ({'time_column': 4, 'origins_velocity': [[0.0] * 3]}, 'origins_velocity of 1 sensors'),
    'velocities of one sensor': ({**TIMED, 'origins_velocity': [[0.0] * 3]}, 'origins of 2, and time_column is 3'),
    'velocities without times': ({**TIMED, 'time_column': None}, 'origins of 2, and time_column is None'),
    'velocities that are NaN': ({**TIMED, 'origins_velocity': [[float('nan')] * 3] * 2}, 'origins_velocity is'),
    'delay that is none': ({**TIMED, 'origins_delay': float('inf')}, 'origins_delay is'),
    'column that is not there': ({'origins': [[0.0] * 3] * 2, 'sensor_column': 5}, 'sensor_column is 5, of 5 columns'),
}  # fmt: skip


def test_origins_that_move_are_accepted(infos):
    infos[1]['lidar_points'].update(TIMED)
    infos[1]['lidar_sweeps'][0]['lidar_points'].update(time_column=4)
    check_infos(infos, 'infos.pkl')


@pytest.mark.parametrize('name', ORIGINS)
def test_wrong_origins_of_beams_are_refused(infos, name):
    values, words = ORIGINS[name]
    infos[1]['lidar_points'].update(values)
    with pytest.raises(InputError) as caught:
        check_infos(infos, 'infos.pkl')
    assert words in str(caught.value)
