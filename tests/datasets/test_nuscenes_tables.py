"""nuScenes tables as people have them: other rigs, other units, some of the archives only, damaged in one place."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters import nuscenes
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.commands import run
from tests.helpers.dataset import build_dataset
from tests.helpers.rawdata import BOX_CAMERA, write_nuscenes
from tests.helpers.refusals import assert_refused

VERSION = 'v1.0-mini'


@pytest.fixture(scope='module')
def pristine(tmp_path_factory) -> Path:
    """Two scenes of three keyframes; tests must not change it."""
    root = tmp_path_factory.mktemp('nuscenes')
    write_nuscenes(BoxWorld(), root, {'train': ['scene-a'], 'val': ['scene-b']})
    return root


@pytest.fixture
def root(pristine, tmp_path) -> Path:
    return shutil.copytree(pristine, tmp_path / 'raw')


def edit(root: Path, table: str, change) -> None:
    """Apply ``change`` to every record of a table."""
    path = root / VERSION / f'{table}.json'
    records = json.loads(path.read_text())
    path.write_text(json.dumps([record for record in records if change(record) is not False]))


def convert(root: Path, *options: object):
    """The command."""
    arguments = ('--root-path', root, '--out-dir', root / 'out', '--version', VERSION)
    return run('create_data', 'nuscenes', *arguments, *options)


def refused(root: Path, *words: str, options: tuple = ()) -> None:
    """One line with these words, exit code 2, nothing written."""
    line = assert_refused(convert(root, *options), *words)
    assert not list((root / 'out').glob('*'))
    assert 'convert the data again' not in line


def infos_of(root: Path, split: str = 'val') -> tuple[dict, list[dict]]:
    return load_infos(root / f'out/nuscenes_infos_{split}.pkl')


# Quaternions, units, motion.


def xyzw(record: dict) -> None:
    w, x, y, z = record['rotation']
    record['rotation'] = [x, y, z, w]


def test_camera_quaternions_in_the_wrong_order_are_refused(root):
    edit(root, 'calibrated_sensor', lambda record: xyzw(record) if 'CAM' in record['token'] else None)
    refused(root, 'scene-a-0, CAM_', 'x y z w')


def test_one_camera_quaternion_in_the_wrong_order_is_refused(root):
    edit(root, 'calibrated_sensor', lambda record: xyzw(record) if record['token'] == 'cal-CAM_BACK' else None)
    refused(root, 'scene-a-0, CAM_BACK: ', 'x y z w')


def test_lidar_quaternions_in_the_wrong_order_are_refused(root):
    edit(root, 'calibrated_sensor', lambda record: xyzw(record) if 'LIDAR' in record['token'] else None)
    refused(root, 'scene-a-0: lidar2global: its up is tilted', 'x y z w')


def test_ego_quaternions_in_the_wrong_order_are_refused(root):
    edit(root, 'ego_pose', xyzw)
    refused(root, 'scene-a-0: ego2global: its up is tilted', 'x y z w')


def test_ego_quaternions_in_the_wrong_order_with_small_yaw_are_refused(tmp_path):
    class Eastward(BoxWorld):
        def ego2global(self, time):
            pose = np.linalg.inv(BoxWorld.ego2global(self, 0)) @ BoxWorld.ego2global(self, time)
            return pose

    write_nuscenes(Eastward(turn=1.0), tmp_path, {'train': ['scene-a'], 'val': ['scene-b']})
    assert convert(tmp_path).code == 0
    shutil.rmtree(tmp_path / 'out')
    edit(tmp_path, 'ego_pose', xyzw)
    refused(tmp_path, 'the vehicle drives backwards (scene-a)', 'x y z w')


@pytest.mark.parametrize(('unit', 'factor'), [('seconds', 1e-6), ('milliseconds', 1e-3), ('nanoseconds', 1e3)])
def test_times_in_other_units_are_converted(root, pristine, tmp_path, unit, factor):
    for table in ('sample', 'sample_data', 'ego_pose'):
        edit(root, table, lambda record: record.update(timestamp=record['timestamp'] * factor))
    result = convert(root)
    assert result.code == 0 and f'{VERSION}: its time stamps are {unit} rather than microseconds' in result.err
    nuscenes.convert(pristine, tmp_path / 'right', version=VERSION)
    _, right = load_infos(tmp_path / 'right/nuscenes_infos_val.pkl')
    for info, other in zip(infos_of(root)[1], right, strict=True):
        assert info['timestamp'] == pytest.approx(other['timestamp'], abs=1e-6)
        for camera, image in info['images'].items():
            assert image['timestamp'] == pytest.approx(other['images'][camera]['timestamp'], abs=1e-6)


def test_units_that_differ_between_tables_are_refused(root):
    edit(root, 'sample_data', lambda record: record.update(timestamp=record['timestamp'] * 1000))
    refused(root, 'scene-a-0, CAM_', 'off that of its keyframe')


def scaled(factor: float):
    return lambda record: record.update(translation=[factor * value for value in record['translation']])


def test_positions_in_other_units_are_refused(root):
    edit(root, 'calibrated_sensor', scaled(1000))
    refused(root, 'in meters')


def test_a_map_in_millimeters_is_refused(root):
    edit(root, 'ego_pose', scaled(1000))
    refused(root, 'scene-a-1: the vehicle moves', 'positions in meters')


def test_points_in_millimeters_are_refused(root):
    for path in (root / 'samples/LIDAR_TOP').iterdir():
        points = np.fromfile(path, np.float32).reshape(-1, 5)
        points[:, :3] *= 1000
        points.tofile(path)
    refused(root, 'pcd.bin: half of its points are farther than', 'meters')


# Rigs.


@pytest.mark.parametrize('chosen', [('CAM_FRONT',), ('CAM_BACK', 'CAM_FRONT_LEFT', 'CAM_FRONT')])
def test_cameras_are_chosen(root, chosen):
    assert convert(root, '--cameras', *chosen).code == 0
    metainfo, infos = infos_of(root)
    ring = [camera for camera in nuscenes.CAMERAS if camera in chosen]
    assert metainfo['cameras'] == ring and all(set(info['images']) == set(chosen) for info in infos)
    dataset = build_dataset(root / 'out', ann_file='nuscenes_infos_val.pkl', data_prefix={'img': '..', 'lidar': '..'})
    assert list(dataset[0]['inputs']['input_views'].names) == ring


def test_cameras_may_be_fewer_and_have_other_names(root, pristine):
    """Three cameras that are called otherwise, and a LiDAR of another name."""
    names = {'CAM_BACK': 'rear', 'CAM_FRONT': 'main', 'CAM_FRONT_RIGHT': 'side_r', 'LIDAR_TOP': 'velodyne'}
    edit(
        root,
        'sensor',
        lambda record: record.update(channel=names[record['channel']]) if record['channel'] in names else False,
    )
    edit(root, 'calibrated_sensor', lambda record: record['sensor_token'] in names)
    edit(root, 'sample_data', lambda record: record['calibrated_sensor_token'][4:] in names)
    result = convert(root)
    assert result.code == 0, result.err
    metainfo, infos = infos_of(root)
    assert metainfo['cameras'] == ['main', 'side_r', 'rear']
    world = BoxWorld()
    lag = world.lags[nuscenes.CAMERAS.index('CAM_FRONT_RIGHT')]
    expected = world.ego2global(1 - lag) @ world.cam2ego(BOX_CAMERA['CAM_FRONT_RIGHT'])
    assert np.allclose(infos[1]['images']['side_r']['cam2global'], expected, atol=1e-9)
    dataset = build_dataset(root / 'out', ann_file='nuscenes_infos_val.pkl', data_prefix={'img': '..', 'lidar': '..'})
    assert dataset[1]['inputs']['input_views'].lidar_depth.isfinite().any()


def test_an_unknown_camera_is_refused(root):
    refused(root, 'has no camera CAM_TOP; give --cameras some of CAM_FRONT_LEFT', options=('--cameras', 'CAM_TOP'))


def test_samples_that_lack_a_camera_are_refused(root):
    edit(root, 'sample_data', lambda record: record['token'] != 'scene-b-1-CAM_BACK' or False)
    path = root / VERSION / 'sample_data.json'
    records = json.loads(path.read_text())
    for record in records:
        for link in ('prev', 'next'):
            record[link] = '' if record[link] == 'scene-b-1-CAM_BACK' else record[link]
    path.write_text(json.dumps(records))
    result = convert(root)
    assert result.code == 2 and 'sample scene-b-1 has no CAM_BACK' in result.err
    cameras = [camera for camera in nuscenes.CAMERAS if camera != 'CAM_BACK']
    assert f'--cameras {" ".join(cameras)}' in result.err
    assert convert(root, '--cameras', *cameras).code == 0


def test_tables_without_lidar_are_refused(root):
    edit(root, 'sample_data', lambda record: 'LIDAR' not in record['token'])
    refused(root, 'its keyframes have no LiDAR', 'docs/OWN_DATA.md')


def test_tables_without_keyframes_are_refused(root):
    edit(root, 'sample_data', lambda record: record.update(is_key_frame=False))
    refused(root, 'sample_data.json: none of its measurements is a keyframe (is_key_frame)')


SIDES = {'CAM_FRONT_LEFT': 'CAM_FRONT_RIGHT', 'CAM_BACK_LEFT': 'CAM_BACK_RIGHT'}
SIDES |= {right: left for left, right in SIDES.items()}


def test_swapped_sides_are_noticed(root):
    def swap(record: dict) -> None:
        record['sensor_token'] = SIDES.get(record['sensor_token'], record['sensor_token'])

    edit(root, 'calibrated_sensor', swap)
    refused(root, 'left and right are swapped')


def test_mirrored_cameras_are_refused(root):
    """Every camera's calibration is that of its mirror image."""
    path = root / VERSION / 'calibrated_sensor.json'
    records = {record['sensor_token']: record for record in json.loads(path.read_text())}
    poses = {name: (record['translation'], record['rotation']) for name, record in records.items()}
    for name, record in records.items():
        record['translation'], record['rotation'] = poses[SIDES.get(name, name)]
    path.write_text(json.dumps(list(records.values())))
    refused(root, 'scene-a-0: all its cameras look to the other side', 'left and right are swapped')


# What is missing, and hints.


def test_incomplete_scenes_are_refused_or_left_out(root):
    for path in [*root.glob('samples/*/scene-b__*')]:
        path.unlink()
    refused(root, '21 of 42 files of keyframes are missing', '1 of 2 scenes are complete', '--skip-incomplete-scenes')
    result = convert(root, '--skip-incomplete-scenes')
    assert result.code == 0 and 'no scene of split val is complete' in result.err
    assert [info['scene'] for info in infos_of(root, 'train')[1]] == ['scene-a'] * 3
    assert not (root / 'out/nuscenes_infos_val.pkl').exists()
    shutil.rmtree(root / 'samples')
    shutil.rmtree(root / 'out')
    refused(root, '42 of 42 files', '0 of 2 scenes', 'or correct --root-path', options=('--skip-incomplete-scenes',))


def test_paths_of_windows_are_read(root):
    edit(root, 'sample_data', lambda record: record.update(filename=record['filename'].replace('/', '\\')))
    assert convert(root).code == 0
    assert '\\' not in infos_of(root)[1][0]['images']['CAM_BACK']['img_path']


def test_empty_intrinsics_are_refused(root):
    edit(root, 'calibrated_sensor', lambda record: record.update(camera_intrinsic=[]))
    refused(root, 'calibrated_sensor.json: cal-CAM_FRONT_LEFT (CAM_FRONT_LEFT): camera_intrinsic is empty', '--cameras')


def test_the_folder_of_the_tables_is_proposed(root, pristine, tmp_path):
    result = run('create_data', 'nuscenes', '--root-path', root, '--out-dir', tmp_path / 'out')
    assert (
        result.code == 2 and 'v1.0-trainval: no such folder of tables; there is v1.0-mini; give --version' in result.err
    )
    for folder, words in (
        (root / VERSION, f'--root-path {root} --version v1.0-mini'),
        (root.parent, f'give --root-path {root}'),
    ):
        result = run(
            'create_data', 'nuscenes', '--root-path', folder, '--out-dir', tmp_path / 'out', '--version', VERSION
        )
        assert result.code == 2 and words in result.err


def test_missing_sweeps_are_counted(root):
    edit(
        root,
        'sample_data',
        lambda record: record.update(filename='sweeps/none.bin') if record['token'] == 'x' else None,
    )
    path = root / VERSION / 'sample_data.json'
    records = json.loads(path.read_text())
    chosen = next(record for record in records if record['token'] == 'scene-b-0-LIDAR_TOP')
    chosen['prev'] = 'before'
    before = chosen | {
        'token': 'before',
        'prev': '',
        'next': 'scene-b-0-LIDAR_TOP',
        'is_key_frame': False,
        'filename': 'sweeps/none.bin',
        'timestamp': -50_000,
    }
    path.write_text(json.dumps([*records, before]))
    result = convert(root)
    assert result.code == 0 and 'sweeps/none.bin: no such file; 3 of 6 files of LiDAR sweeps' in result.err
    assert [len(info['lidar_sweeps']) for info in infos_of(root)[1]] == [0, 1, 2]
    result = convert(root, '--sweeps', 0)
    assert result.code == 0 and 'none.bin' not in result.err
    assert convert(root, '--sweeps', -1).code == 2


@pytest.mark.parametrize(
    ('table', 'change', 'word'),
    [
        ('sample', lambda record: record.update(next=record['token']), 'next leads round'),
        ('scene', lambda record: record.update(nbr_samples=9), 'has 9 samples, and their links lead to 3'),
        ('sample', lambda record: record.update(timestamp=None), 'timestamp is None'),
        ('sample', lambda record: record.update(timestamp=0), 'which is not later in time'),
        ('sample_data', lambda record: record.update(filename=''), "filename is ''"),
        ('sample_data', lambda record: record.update(timestamp='1'), "timestamp is '1'"),
        ('ego_pose', lambda record: record.update(translation=[1, 2]), 'is not three numbers'),
        ('ego_pose', lambda record: record.update(rotation=None), 'no unit quaternion'),
        ('sample_data', lambda record: record.pop('height'), "'height' is not in the tables"),
        ('sensor', lambda record: record.update(modality='x'), "modality 'x', not camera, lidar, radar"),
        ('scene', lambda record: record.pop('name'), 'lacks 1 of 1 scenes'),
        ('sample_annotation', lambda record: record.update(size=[0.004, 0.002, 0.001]), 'no box near the LiDAR'),
        ('sample_annotation', lambda record: record.update(size=None), 'a record holds no numbers'),
    ],
)  # fmt: skip
def test_damaged_records_are_named(root, table, change, word):
    def changed(record: dict) -> None:
        change(record)

    edit(root, table, changed)
    refused(root, word)


def test_what_is_doubtful_is_said(root):
    edit(root, 'calibrated_sensor', scaled(1e-3))
    edit(root, 'sample_data', lambda record: record.update(prev=''))
    edit(root, 'category', lambda record: record.update(name='Wagen'))
    result = convert(root)
    assert result.code == 0
    for words in (
        'm of each other (in 3 of 3 samples)',
        'no keyframe has LiDAR sweeps before it',
        '18 of 18 boxes have categories that are none of nuScenes (Wagen)',
    ):
        assert words in result.err, words


def test_missing_scenes_of_official_splits_are_named(root):
    (root / 'splits.json').unlink()
    refused(root, 'lacks 8 of 8 scenes of split train (scene-', 'and 5 more)', 'splits.json')


def test_an_info_file_of_one_camera_is_read_by_everything(root):
    """The info file of one camera and of three are read by everything that reads six."""
    assert convert(root, '--cameras', 'CAM_FRONT').code == 0
    content = pickle.loads((root / 'out/nuscenes_infos_train.pkl').read_bytes())
    assert content['metainfo']['cameras'] == ['CAM_FRONT']
    with pytest.raises(InputError, match='no camera CAM_BACK'):
        build_dataset(
            root / 'out', ann_file='nuscenes_infos_train.pkl', cameras=['CAM_BACK'], data_prefix={'img': '..'}
        ).full_init()
