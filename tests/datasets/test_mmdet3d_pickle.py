"""Info pickles of mmdet3d as people have them: sweeps, one camera, other units, Windows, renamed files."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters import nuscenes
from projects.DistillNeRF.datasets.converters.common import units_per_second
from projects.DistillNeRF.datasets.infos import load_infos
from tests.helpers.boxworld import BoxWorld
from tests.helpers.commands import run
from tests.helpers.dataset import build_dataset
from tests.helpers.rawdata import write_nuscenes
from tests.helpers.refusals import assert_refused

BOX = {'bbox_3d': [1.0, 9, 0, 4, 2, 1.5, 0.1], 'bbox_label': 0, 'bbox_label_3d': 0, 'velocity': [float('nan')] * 2}


@pytest.fixture(scope='module')
def pristine(tmp_path_factory) -> tuple[Path, list[dict], list[dict]]:
    """A data root, its infos by way of the tables, and the same as mmdet3d writes them, in float32, with sweeps."""
    root = tmp_path_factory.mktemp('nuscenes')
    world = BoxWorld()
    write_nuscenes(world, root, {'train': ['scene-a'], 'val': ['scene-b']})
    path = nuscenes.convert(root, tmp_path_factory.mktemp('tables'), version='v1.0-mini')[0]
    _, infos = load_infos(path)
    return root, infos, [as_mmdet3d(info, world, root) for info in infos]


def float32(pose: np.ndarray) -> list:
    return np.float32(pose).tolist()


def as_mmdet3d(info: dict, world: BoxWorld, root: Path) -> dict:
    """One entry of ``data_list``; ten sweeps, whose paths begin at the folder in which mmdet3d was run."""
    lidar = info['lidar_points']
    sweeps = []
    for number in range(1, 11):
        ego2global = world.ego2global(info['frame'] - 0.1 * number)
        sweep2global = ego2global @ world.lidar2ego
        name = f'sweeps/LIDAR_TOP/{info["token"]}_{number}.pcd.bin'
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        world.points(sweep2global).tofile(root / name)
        points = {'lidar_path': f'./data/nuscenes/{name}', 'lidar2ego': float32(world.lidar2ego)}
        points['lidar2sensor'] = float32(np.linalg.inv(sweep2global) @ info['lidar2global'])
        time = info['timestamp'] - 0.05 * number
        ego = float32(ego2global)
        sweeps.append({'lidar_points': points, 'ego2global': ego, 'timestamp': time, 'sample_data_token': name})
    images = {
        camera: {
            'img_path': Path(image['img_path']).name,
            'cam2img': image['cam2img'],
            'cam2ego': float32(image['cam2ego']),
            'lidar2cam': float32(image['lidar2cam']),
            'timestamp': image['timestamp'],
            'sample_data_token': 'x',
        }
        for camera, image in info['images'].items()
    }
    return {
        'sample_idx': info['sample_idx'],
        'token': info['token'],
        'timestamp': info['timestamp'],
        'ego2global': float32(info['ego2global']),
        'images': images,
        'lidar_points': {
            'num_pts_feats': 5,
            'lidar_path': Path(lidar['lidar_path']).name,
            'lidar2ego': float32(lidar['lidar2ego']),
        },
        'lidar_sweeps': sweeps,
        'instances': [copy.deepcopy(BOX)],
        'cam_instances': {camera: [] for camera in images},
        'image_sweeps': [{'nothing': 'known'}],
    }


@pytest.fixture
def records(pristine) -> list[dict]:
    return copy.deepcopy(pristine[2])


def convert(root: Path, records: list[dict], out: Path, *options: object):
    """Write the pickle and run the command."""
    source = out / 'source' / 'train.pkl'
    source.parent.mkdir(parents=True, exist_ok=True)
    metainfo = {'categories': {'car': 0, 'animal': -1}, 'dataset': 'nuscenes', 'info_version': '1.1'}
    source.write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': records}))
    return run('create_data', 'nuscenes', '--root-path', root, '--from-info', source, '--out-dir', out, *options)


def converted(out: Path) -> tuple[dict, list[dict]]:
    return load_infos(out / 'nuscenes_infos_train.pkl')


def refused(root: Path, records: list[dict], out: Path, *words: str, options: tuple = ()) -> None:
    result = convert(root, records, out, *options)
    assert_refused(result, *words)
    assert not list(out.glob('*.pkl'))


def test_sweeps_are_converted_like_keyframes(pristine, records, tmp_path):
    root, infos, _ = pristine
    records[2]['lidar_sweeps'].reverse()
    assert convert(root, records, tmp_path).code == 0
    metainfo, again = converted(tmp_path)
    assert metainfo['cameras'] == list(nuscenes.CAMERAS) and metainfo['categories'] == {'car': 0}
    world = BoxWorld()
    for info, expected in zip(again, infos, strict=True):
        assert np.allclose(info['lidar2global'], expected['lidar2global'], atol=1e-4)
        assert set(info) == set(expected), 'no foreign fields'
        assert info['instances'][0]['bbox_label'] == 0 and np.isnan(info['instances'][0]['velocity']).all()
        for number, sweep in enumerate(info['lidar_sweeps'], 1):
            points = sweep['lidar_points']
            assert points['lidar_path'] == f'sweeps/LIDAR_TOP/{info["token"]}_{number}.pcd.bin'
            assert points['num_pts_feats'] == 5
            lidar2global = world.ego2global(info['frame'] - 0.1 * number) @ world.lidar2ego
            assert np.allclose(sweep['lidar2global'], lidar2global, atol=1e-4)
            between = np.linalg.inv(lidar2global) @ expected['lidar2global']
            assert np.allclose(points['lidar2sensor'], between, atol=1e-4)
            assert sweep['timestamp'] == pytest.approx(info['timestamp'] - 0.05 * number)
        assert len(info['lidar_sweeps']) == 10
    prefix = {'img': str(root), 'lidar': str(root)}
    options = {'ann_file': 'nuscenes_infos_train.pkl', 'data_prefix': prefix, 'load_boxes': True}
    alone, all_ten = (build_dataset(tmp_path, lidar_sweeps=count, **options)[1]['inputs'] for count in (1, 10))
    known = [inputs['input_views'].lidar_depth.isfinite() for inputs in (alone, all_ten)]
    assert known[1].sum() > 1.1 * known[0].sum()
    both = known[0] & known[1]
    off = (alone['input_views'].lidar_depth - all_ten['input_views'].lidar_depth)[both]
    assert off.abs().median() < 0.2, 'sweeps lie where the keyframe lies'


def test_missing_sweeps_are_counted_and_left_out(pristine, records, tmp_path):
    for sweep in records[1]['lidar_sweeps'][2:]:
        sweep['lidar_points']['lidar_path'] += '.gone'
    result = convert(pristine[0], records, tmp_path)
    assert result.code == 0 and '8 of 30 files of LiDAR sweeps between keyframes are missing' in result.err
    assert [len(info['lidar_sweeps']) for info in converted(tmp_path)[1]] == [10, 2, 10]
    assert convert(pristine[0], records, tmp_path, '--sweeps', 2).err.count('warning: ') == result.err.count('warn') - 1
    assert [len(info['lidar_sweeps']) for info in converted(tmp_path)[1]] == [2, 2, 2]


SWEEP = {
    'not rigid': (lambda sweep: sweep.update(ego2global=np.diag([2, 2, 2, 1]).tolist()), 'not orthonormal'),
    'elsewhere': (lambda sweep: sweep['ego2global'][0].__setitem__(3, 0.0), 'lidar2sensor and the poses'),
    'no pose': (lambda sweep: sweep.pop('ego2global'), "lacks 'ego2global'"),
    'no time': (lambda sweep: sweep.update(timestamp=None), 'timestamp is None'),
    'no file': (lambda sweep: sweep['lidar_points'].pop('lidar_path'), "lacks 'lidar_path'"),
    'no record': (lambda sweep: sweep.update(lidar_points=[]), 'is no record'),
    'one column': (lambda sweep: sweep['lidar_points'].update(num_pts_feats=1), 'num_pts_feats is 1'),
}


@pytest.mark.parametrize('name', SWEEP)
def test_bad_sweeps_are_refused(pristine, records, tmp_path, name):
    change, word = SWEEP[name]
    change(records[2]['lidar_sweeps'][4])
    refused(pristine[0], records, tmp_path, 'train.pkl: sample scene-a-2, sweep 4', word)


def test_a_sweep_of_another_time_is_refused(pristine, records, tmp_path):
    records[2]['lidar_sweeps'][4]['timestamp'] = -1e6
    refused(pristine[0], records, tmp_path, 'train.pkl: sample scene-a-2, sweep 9', 's from it')


@pytest.mark.parametrize(('unit', 'factor'), [('milliseconds', 1e3), ('microseconds', 1e6), ('nanoseconds', 1e9)])
@pytest.mark.parametrize('start', [0.0, 1.5e9])
def test_other_units_of_time_are_converted(pristine, records, tmp_path, unit, factor, start):
    """Read as seconds, microseconds would make every keyframe a scene of its own."""
    for record in records:
        for item in (record, *record['images'].values(), *record['lidar_sweeps']):
            item['timestamp'] = (start + item['timestamp']) * factor
    result = convert(pristine[0], records, tmp_path)
    assert result.code == 0 and f'its time stamps are {unit} rather than seconds' in result.err
    _, again = converted(tmp_path)
    for info, right in zip(again, pristine[1], strict=True):
        assert info['timestamp'] == pytest.approx(start + right['timestamp'], abs=1e-5)
        assert info['images']['CAM_BACK']['timestamp'] == pytest.approx(
            start + right['images']['CAM_BACK']['timestamp'], abs=1e-5
        )
    assert [info['next'] for info in again] == ['scene-a-1', 'scene-a-2', None]


def test_images_may_have_another_unit_than_keyframes(pristine, records, tmp_path):
    for record in records:
        for image in record['images'].values():
            image['timestamp'] = (1.5e9 + image['timestamp']) * 1e6
        for item in (record, *record['lidar_sweeps']):
            item['timestamp'] += 1.5e9
    assert convert(pristine[0], records, tmp_path).code == 0
    time = converted(tmp_path)[1][1]['images']['CAM_FRONT']['timestamp']
    assert time == pytest.approx(1.5e9 + pristine[1][1]['images']['CAM_FRONT']['timestamp'], abs=1e-5)


def test_steps_or_dates_tell_the_unit():
    assert units_per_second([0, 0.5], [0.5], 'seconds', 'x') == 1
    assert units_per_second([0, 5e5], [5e5], 'seconds', 'x') == 1e6
    assert units_per_second([0, 1e5], [1e5], 'seconds', 'x') == 1e6
    assert units_per_second([1.5e18], [], 'seconds', 'x') == 1e9
    assert units_per_second([1.5e9], [], 'microseconds', 'x') == 1
    assert units_per_second([3.0], [], 'microseconds', 'x') == 1e6
    assert units_per_second([1.5e12, 1.5e12 + 60_000], [60_000], 'seconds', 'x') == 1e6, 'steps of 0.06 s'


@pytest.mark.parametrize('shape', [(3, 3), (3, 4), (4, 4)])
def test_intrinsics_may_have_a_fourth_row_and_column(pristine, records, tmp_path, shape):
    for record in records:
        image = record['images']['CAM_FRONT']
        matrix = np.eye(4)
        matrix[:3, :3] = image['cam2img']
        image['cam2img'] = matrix[: shape[0], : shape[1]].tolist()
        record['images'] = {'CAM_FRONT': image}
    assert convert(pristine[0], records, tmp_path).code == 0
    metainfo, again = converted(tmp_path)
    assert metainfo['cameras'] == ['CAM_FRONT']
    assert np.allclose(again[0]['images']['CAM_FRONT']['cam2img'], BoxWorld().intrinsics)
    prefix = {'img': str(pristine[0]), 'lidar': str(pristine[0])}
    dataset = build_dataset(tmp_path, ann_file='nuscenes_infos_train.pkl', data_prefix=prefix)
    assert dataset[0]['inputs']['input_views'].names == ('CAM_FRONT',)


def test_cameras_are_chosen(pristine, records, tmp_path):
    assert convert(pristine[0], records, tmp_path, '--cameras', 'CAM_BACK', 'CAM_FRONT').code == 0
    assert converted(tmp_path)[0]['cameras'] == ['CAM_FRONT', 'CAM_BACK']
    shutil.rmtree(tmp_path)
    refused(pristine[0], records, tmp_path, 'has no camera FRONT; give', options=('--cameras', 'FRONT'))
    del records[1]['images']['CAM_BACK']
    refused(pristine[0], records, tmp_path, 'sample scene-a-1 has no CAM_BACK', '--cameras CAM_FRONT_LEFT')


@pytest.mark.parametrize(
    'prefix', ['C:\\data\\nuscenes\\samples\\{}\\', './data/nuscenes/samples/{}/', '/mnt/x/{}/', '']
)
def test_files_are_found_by_paths_of_other_machines(pristine, records, tmp_path, prefix):
    for record in records:
        for camera, image in record['images'].items():
            image['img_path'] = prefix.format(camera) + image['img_path']
        points = record['lidar_points']
        points['lidar_path'] = prefix.format('LIDAR_TOP') + points['lidar_path']
        for sweep in record['lidar_sweeps']:
            sweep['lidar_points']['lidar_path'] = sweep['lidar_points']['lidar_path'].replace('/', '\\')
    result = convert(pristine[0], records, tmp_path)
    assert result.code == 0 and 'missing' not in result.err
    for info, right in zip(converted(tmp_path)[1], pristine[1], strict=True):
        assert info['lidar_points']['lidar_path'] == right['lidar_points']['lidar_path']
        assert len(info['lidar_sweeps']) == 10
        for camera, image in info['images'].items():
            assert image['img_path'] == right['images'][camera]['img_path']


def test_renamed_files_do_not_tear_scenes_apart(pristine, records, tmp_path):
    root = shutil.copytree(pristine[0], tmp_path / 'raw')
    for number, record in enumerate(records):
        path = root / 'samples/LIDAR_TOP' / record['lidar_points']['lidar_path']
        path.rename(path.with_name(f'{number:06d}.bin'))
        record['lidar_points']['lidar_path'] = f'{number:06d}.bin'
    records.reverse()
    assert convert(root, records, tmp_path / 'out').code == 0
    _, again = converted(tmp_path / 'out')
    assert [(info['sample_idx'], info['frame']) for info in again] == [(0, 0), (1, 1), (2, 2)]
    assert [info['next'] for info in again] == ['scene-a-1', 'scene-a-2', None]


def test_missing_images_are_counted(pristine, records, tmp_path):
    for image in records[1]['images'].values():
        image['img_path'] = 'x' + image['img_path']
    refused(
        pristine[0], records, tmp_path, 'no such file; 6 of 21 files', '0 of 1 scenes', 'correct --root-path',
        options=('--skip-incomplete-scenes',),
    )  # fmt: skip


def field(name: str, value):
    return lambda record: record.update({name: value})


def image(name: str, value):
    return lambda record: record['images']['CAM_BACK'].update({name: value})


def box(**changes):
    return lambda record: record['instances'][0].update(changes)


BAD = {
    'empty intrinsics': (image('cam2img', []), 'CAM_BACK: cam2img is empty', 'correct it in the pickle'),
    'text': (image('cam2img', 'x'), 'cam2img is no matrix of numbers'),
    'shape': (image('lidar2cam', np.eye(3).tolist()), 'CAM_BACK: lidar2cam is (3, 3), not (4, 4)'),
    'time': (image('timestamp', float('nan')), 'CAM_BACK: timestamp is nan'),
    'late': (image('timestamp', 3.0), 'CAM_BACK: its timestamp is', 'off that of its keyframe'),
    'path': (image('img_path', None), 'img_path is None'),
    'token': (lambda record: record.pop('token'), "lacks 'token'"),
    'keyframe time': (field('timestamp', None), 'timestamp is None'),
    'no lidar': (field('lidar_points', None), 'lidar_points is no record'),
    'no images': (field('images', {}), 'sample scene-a-1 has no'),
    'degrees': (box(bbox_3d=[1, 9, 0, 4, 2, 1, 170.0]), 'yaw in radians'),
    'box in millimeters': (box(bbox_3d=[1, 9, 0, 4000, 2000, 1500, 0]), 'in meters'),
    'box on the map': (box(bbox_3d=[400, 900, 0, 4, 2, 1, 0]), 'no box near the LiDAR'),
    'label': (box(bbox_label=None), 'bbox_label of an instance is None'),
    'short box': (box(bbox_3d=[1, 9, 0]), 'seven numbers'),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_records_are_refused(pristine, records, tmp_path, name):
    change, *words = BAD[name]
    change(records[1])
    refused(pristine[0], records, tmp_path, 'train.pkl: sample ', *words)


def test_the_old_format_is_named(pristine, tmp_path):
    source = tmp_path / 'old.pkl'
    source.write_bytes(pickle.dumps({'infos': [{}], 'metadata': {'version': 'v1.0-mini'}}))
    result = run('create_data', 'nuscenes', '--root-path', pristine[0], '--from-info', source, '--out-dir', tmp_path)
    assert result.code == 2 and "mmdet3d's old v1 format" in result.err and 'update_infos_to_v2.py' in result.err
