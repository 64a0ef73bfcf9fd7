"""Converters: raw data of known geometry becomes infos that say exactly where everything was."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from projects.DistillNeRF.datasets.converters import nuscenes, pandaset
from projects.DistillNeRF.datasets.converters.mmdet3d import from_mmdet3d_info
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.semantics.classes import CLASS_ID, UNKNOWN_CLASS, code_book
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import COLORS, GROUND, SKY, BoxWorld
from tests.helpers.dataset import build_dataset
from tests.helpers.rawdata import BOX_CAMERA, pandaset_world, write_nuscenes, write_pandaset
from tools.create_data import main

FRAME_RANGES = {'train_frames': (0, 1), 'val_frames': (2, 3)}


@pytest.fixture(scope='module')
def nuscenes_root(tmp_path_factory) -> Path:
    """Two scenes of three keyframes as nuScenes tables; tests must not change it."""
    root = tmp_path_factory.mktemp('nuscenes')
    write_nuscenes(BoxWorld(), root, {'train': ['scene-a'], 'val': ['scene-b']})
    return root


@pytest.fixture(scope='module')
def pandaset_root(tmp_path_factory) -> Path:
    """Four frames, two of them with LiDAR, as PandaSet publishes them; tests must not change it."""
    root = tmp_path_factory.mktemp('pandaset')
    write_pandaset(pandaset_world(frames=4, lidar_frames=(0, 2)), root)
    return root


def check_poses(info: dict, world: BoxWorld, cameras: dict[str, str]) -> None:
    """Compare every pose of a record with those of the world."""
    frame = info['frame']
    lidar2global = world.ego2global(frame) @ world.lidar2ego
    assert np.allclose(info['lidar2global'], lidar2global, atol=1e-9)
    assert list(info['images']) == list(cameras)
    for lag, (name, box_camera) in zip(world.lags, cameras.items(), strict=True):
        image = info['images'][name]
        cam2global = world.ego2global(frame - lag) @ world.cam2ego(box_camera)
        assert np.allclose(image['cam2global'], cam2global, atol=1e-9)
        assert np.allclose(image['lidar2cam'], np.linalg.inv(cam2global) @ lidar2global, atol=1e-9)
        assert np.allclose(image['cam2img'], world.intrinsics)
        assert (image['height'], image['width']) == world.size
        assert not Path(image['img_path']).is_absolute()


def lidar_hits_boxes(root: Path, info: dict, dataset) -> None:
    """LiDAR points of a record, at their place in the world, must lie on pixels of their box's color."""
    columns = info['lidar_points']['num_pts_feats']
    points = np.fromfile(root / info['lidar_points']['lidar_path'], np.float32).reshape(-1, columns)
    points, box = points[points[:, 3] >= 0, :3], points[points[:, 3] >= 0, 3].astype(int)
    index = [position for position in range(len(dataset)) if dataset.get_data_info(position)['token'] == info['token']]
    views = dataset[index[0]]['inputs']['input_views']
    for image, camera in zip(views.images, views.cameras, strict=True):
        pixels, z = camera.project(torch.tensor(points))
        u, v = pixels.round().long().unbind(-1)
        inside = (z > 1) & (u >= 0) & (u < 100) & (v >= 0) & (v < 60)
        expected = torch.tensor(COLORS)[box][inside]
        assert inside.sum() > 50
        assert ((image[:, v[inside], u[inside]].T * 255 - expected).abs().amax(dim=1) < 60).float().mean() > 0.85


def test_nuscenes_tables_become_infos(nuscenes_root, tmp_path):
    main(['nuscenes', '--root-path', str(nuscenes_root), '--out-dir', str(tmp_path), '--version', 'v1.0-mini'])
    for split, scene in (('train', 'scene-a'), ('val', 'scene-b')):
        metainfo, infos = load_infos(tmp_path / f'nuscenes_infos_{split}.pkl')
        assert metainfo['cameras'] == list(nuscenes.CAMERAS) and metainfo['dataset'] == 'nuscenes'
        assert [info['token'] for info in infos] == [f'{scene}-{frame}' for frame in range(3)]
        assert [(info['prev'], info['next']) for info in infos] == [
            (None, f'{scene}-1'),
            (f'{scene}-0', f'{scene}-2'),
            (f'{scene}-1', None),
        ]
        for info in infos:
            check_poses(info, BoxWorld(), BOX_CAMERA)
    assert len(infos[2]['lidar_sweeps']) == 2
    low, high = BoxWorld().boxes()[1]
    boxes = [instance['bbox_3d'] for instance in infos[1]['instances']]
    center = np.linalg.inv(infos[1]['lidar2global']) @ [*((low + high) / 2), 1]
    assert np.allclose(boxes[1][:3], center[:3]) and infos[1]['instances'][1]['bbox_label'] == 0
    dataset = build_dataset(
        tmp_path,
        ann_file='nuscenes_infos_val.pkl',
        data_prefix={'img': str(nuscenes_root), 'lidar': str(nuscenes_root)},
    )
    lidar_hits_boxes(nuscenes_root, infos[1], dataset)


def test_mmdet3d_pickle_gives_the_same_infos(nuscenes_root, tmp_path):
    """Strip our records down to what mmdet3d writes, rounded to its float32, and convert them back."""
    written = nuscenes.convert(nuscenes_root, tmp_path, version='v1.0-mini')
    _, infos = load_infos(written[0])
    source = tmp_path / 'mmdet3d_train.pkl'
    fields = ('sample_idx', 'token', 'timestamp', 'ego2global', 'images', 'lidar_points')
    plain = [{field: info[field] for field in fields} for info in infos]
    for info in plain:
        info['ego2global'] = np.float32(info['ego2global']).tolist()
        info['lidar_points']['lidar_path'] = Path(info['lidar_points']['lidar_path']).name
        for image in info['images'].values():
            image['img_path'] = Path(image['img_path']).name
            del image['cam2global'], image['height'], image['width'], image['teacher']
    source.write_bytes(pickle.dumps({'metainfo': {'info_version': '1.1'}, 'data_list': plain}))
    path = from_mmdet3d_info(source, nuscenes_root, tmp_path, tag='again')
    _, again = load_infos(path)
    assert path.name == 'again_infos_train.pkl'
    for info, other in zip(load_infos(written[0])[1], again, strict=True):
        assert (info['token'], info['prev'], info['next']) == (other['token'], other['prev'], other['next'])
        for camera, image in info['images'].items():
            assert image['img_path'] == other['images'][camera]['img_path']
            assert np.allclose(image['cam2global'], other['images'][camera]['cam2global'], atol=1e-4)


def test_pandaset_becomes_infos(pandaset_root, tmp_path):
    world = pandaset_world(frames=4, lidar_frames=(0, 2))
    options = ['--train-frames', '0-1', '--val-frames', '2-3', '--step', '1']
    main(['pandaset', '--root-path', str(pandaset_root), '--out-dir', str(tmp_path), *options])
    cameras = dict(zip(pandaset.CAMERAS, BOX_CAMERA.values(), strict=True))
    _, train = load_infos(tmp_path / 'pandaset_infos_train.pkl')
    metainfo, val = load_infos(tmp_path / 'pandaset_infos_val.pkl')
    assert [info['token'] for info in train + val] == ['001_00', '001_01', '001_02', '001_03']
    assert [info['next'] for info in train + val] == ['001_01', None, '001_03', None], 'no link leaves its split'
    assert [info['lidar_points'] is None for info in train + val] == [False, True, False, True]
    assert metainfo['cameras'] == list(pandaset.CAMERAS)
    for info in train + val:
        check_poses(info, world, cameras)
    prefix = {'img': str(pandaset_root)}
    dataset = build_dataset(tmp_path, ann_file='pandaset_infos_val.pkl', data_prefix=prefix)
    lidar_hits_boxes(tmp_path, val[0], dataset)
    # The instances are the boxes: their centers in the LiDAR frame.
    center = np.linalg.inv(train[0]['lidar2global']) @ [*np.mean(world.boxes()[1], axis=0), 1]
    assert np.allclose(train[0]['instances'][1]['bbox_3d'][:3], center[:3])


def test_pandaset_frames_know_the_lidar_of_their_neighbors(tmp_path):
    world = pandaset_world(frames=7, lidar_frames=(0, 2, 3, 6))
    write_pandaset(world, tmp_path / 'raw')
    pandaset.convert(tmp_path / 'raw', tmp_path, train_frames=(0, 5), val_frames=(6, 6), step=1)
    _, train = load_infos(tmp_path / 'pandaset_infos_train.pkl')
    names = [[sweep['lidar_points']['lidar_path'][-6:-4] for sweep in info['lidar_sweeps']] for info in train]
    assert names == [['02'], ['00', '02', '03'], ['03', '00'], ['02'], ['03', '02'], ['03']], (
        'frame 6 is of the val split'
    )
    sweep = train[1]['lidar_sweeps'][0]
    assert np.allclose(sweep['lidar2global'], train[0]['lidar2global'])
    between = np.linalg.inv(train[0]['lidar2global']) @ train[1]['lidar2global']
    assert np.allclose(sweep['lidar_points']['lidar2sensor'], between)

    options = {'ann_file': 'pandaset_infos_train.pkl', 'data_prefix': {'img': str(tmp_path / 'raw')}}
    alone = build_dataset(tmp_path, lidar_sweeps=1, **options)[1]
    assert alone['inputs']['input_views'].lidar_depth.isnan().all()
    assert alone['data_samples'].metainfo['notes'] == ['001_01: has no LiDAR']
    helped = build_dataset(tmp_path, lidar_sweeps=3, **options)[1]
    assert helped['data_samples'].metainfo['notes'] == ['001_01: has no LiDAR, that of -0.10, +0.10 s is used']
    views = helped['inputs']['input_views']
    truth = [world.view(np.asarray(image['cam2global']))[1] for image in train[1]['images'].values()]
    nearest = torch.tensor(np.stack(truth)).view(6, 30, 2, 50, 2).nan_to_num(torch.inf).amin(dim=(2, 4))
    known = views.lidar_depth.isfinite()
    assert known.float().mean() > 0.1
    assert (views.lidar_depth - nearest)[known].abs().median() < 0.15


def test_pandaset_conversion_resumes_and_leaves_nothing_half_written(pandaset_root, tmp_path, monkeypatch):
    root, out = shutil.copytree(pandaset_root, tmp_path / 'raw'), tmp_path / 'out'
    (root / '001/lidar/02.pkl.gz').write_bytes(b'cut')
    with pytest.raises(InputError, match=r'02\.pkl\.gz.*not a readable table'):
        pandaset.convert(root, out, **FRAME_RANGES)
    names = sorted(str(path.relative_to(out)) for path in out.rglob('*') if path.is_file())
    kept = ['lidar/001/00.bin', 'lidar/001/00.classes.bin', 'lidar/001/made_from.json']
    assert names == kept
    first = (out / 'lidar/001/00.bin').stat().st_mtime_ns
    shutil.copy(pandaset_root / '001/lidar/02.pkl.gz', root / '001/lidar/02.pkl.gz')
    assert len(pandaset.convert(root, out, **FRAME_RANGES)) == 2
    assert (out / 'lidar/001/00.bin').stat().st_mtime_ns == first


CLASS_PIPELINE = [
    {'type': 'LoadViews'},
    {'type': 'LoadLidarDepth', 'with_classes': True},
    {'type': 'SkyFromLidar', 'ceiling': 9.0},
    {'type': 'LidarCodeBookFeatures'},
    {'type': 'PackViews'},
]


def test_classes_of_pandaset_points_become_features(pandaset_root, tmp_path):
    pandaset.convert(pandaset_root, tmp_path, **FRAME_RANGES)
    classes = np.fromfile(tmp_path / 'lidar/001/00.classes.bin', np.uint8)
    points = np.fromfile(tmp_path / 'lidar/001/00.bin', np.float32).reshape(-1, 6)
    expected = np.where(points[:, 3] >= 0, CLASS_ID['car'], CLASS_ID['road'])
    assert classes[0] == UNKNOWN_CLASS and np.array_equal(classes[1:], expected[1:])
    options = {'ann_file': 'pandaset_infos_train.pkl', 'data_prefix': {'img': str(pandaset_root)}}
    dataset = build_dataset(tmp_path, pipeline=CLASS_PIPELINE, **options)
    views = dataset[0]['inputs']['input_views']
    known = views.features.isfinite().all(1)
    assert torch.equal(known, views.features.isfinite().any(1))
    measured = views.lidar_depth.isfinite() | (views.sky_mask > 0)
    assert not (known & ~measured).any() and (known != measured).sum() <= 6, 'one point has no class'
    seen = torch.einsum('vchw,kc->vkhw', views.features.nan_to_num(), torch.from_numpy(code_book())).argmax(1)
    colors = views.images[..., ::2, ::2] * 255
    for name, color in (('road', GROUND), ('sky', SKY)):
        is_it = known & (seen == CLASS_ID[name])
        assert is_it.sum() > 100
        off = (colors - torch.tensor(color)[:, None, None]).abs().amax(1)
        assert (off[is_it] < 60).float().mean() > 0.9, name
    is_car = known & (seen == CLASS_ID['car'])
    assert is_car.sum() > 100 and (off[is_car] > 60).float().mean() > 0.9
    # The next frame has no LiDAR.
    assert dataset[1]['inputs']['input_views'].features.isnan().all()


def test_bad_classes_of_points_are_refused(pandaset_root, tmp_path):
    root = shutil.copytree(pandaset_root, tmp_path / 'raw')
    table = root / '001/annotations/semseg/00.pkl.gz'
    pd.DataFrame({'class': [7, 7]}).to_pickle(table)
    with pytest.raises(InputError, match=r'semseg/00.pkl.gz: holds no class for each of the'):
        pandaset.convert(root, tmp_path / 'out', **FRAME_RANGES)
    shutil.copy(pandaset_root / '001/annotations/semseg/00.pkl.gz', table)
    names = table.with_name('classes.json')
    text = names.read_text()
    for content in ('["Road"]', '{"road": "Road"}', '{"300": "Road"}'):
        names.write_text(content)
        with pytest.raises(InputError, match=r'semseg/00.pkl.gz: its classes or those of classes.json are no numbers'):
            pandaset.convert(root, tmp_path / 'out', **FRAME_RANGES)
    assert not list((tmp_path / 'out').rglob('*.classes.bin'))
    names.write_text(text)
    table.unlink()
    pandaset.convert(root, tmp_path / 'out', **FRAME_RANGES)
    options = {'data_prefix': {'img': str(root)}, 'pipeline': CLASS_PIPELINE}
    with pytest.raises(InputError, match=r'00.bin: the info file names no classes of these points'):
        build_dataset(tmp_path / 'out', ann_file='pandaset_infos_train.pkl', **options)[0]
    held_out = build_dataset(tmp_path / 'out', ann_file='pandaset_infos_val.pkl', **options)
    file = tmp_path / 'out/lidar/001/02.classes.bin'
    whole = file.read_bytes()
    for content, word in ((whole[:-1], 'classes for'), (b'\x63' + whole[1:], 'ids beyond the 15 classes')):
        file.write_bytes(content)
        with pytest.raises(InputError, match=rf'02.classes.bin: holds .*{word}'):
            held_out[0]
    without = build_dataset(tmp_path / 'out', ann_file='pandaset_infos_val.pkl', load_lidar=False, **options)
    with pytest.raises(InputError, match='no classes of LiDAR points were loaded'):
        without[0]


def test_pandaset_is_split_by_sequence(pandaset_root, tmp_path):
    root = tmp_path / 'raw'
    for name in ('001', '002'):
        shutil.copytree(pandaset_root / '001', root / name)
    pandaset.convert(root, tmp_path, val_sequences=['002'], workers=2)
    scenes = [{info['scene'] for info in load_infos(tmp_path / f'pandaset_infos_{s}.pkl')[1]} for s in ('train', 'val')]
    assert scenes == [{'001'}, {'002'}]


def edit(path: Path, change) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


POSES = '001/camera/front_camera/poses.json'


@pytest.mark.parametrize(
    ('name', 'change', 'word'),
    [
        (POSES, None, 'no such file'),
        (POSES, b'[{', 'JSON'),
        (POSES, lambda poses: poses[1]['heading'].update(w=5), 'quaternion'),
        (POSES, lambda poses: poses[1]['position'].update(x=float('nan')), 'NaN'),
        (POSES, lambda poses: poses[1].pop('heading'), 'lacks position'),
        (POSES, lambda poses: poses.__delitem__(slice(2, None)), 'ends before frame 2'),
        ('001/lidar/poses.json', lambda poses: poses[0]['position'].update(x=float('inf')), 'infinity'),
        ('001/camera/back_camera/intrinsics.json', lambda values: values.pop('fx'), 'lacks fx'),
        ('001/camera/back_camera/intrinsics.json', lambda values: values.update(fx=1.0), 'focal length'),
        ('001/camera/left_camera/01.jpg', None, 'no such file'),
        ('001/camera/left_camera/01.jpg', b'', 'empty'),
        ('001/camera/left_camera/01.jpg', b'text', 'not a readable image'),
    ],
)
def test_damaged_pandaset_files_are_named(pandaset_root, tmp_path, capsys, name, change, word):
    root = shutil.copytree(pandaset_root, tmp_path / 'raw')
    if change is None:
        (root / name).unlink()
    elif isinstance(change, bytes):
        (root / name).write_bytes(change)
    else:
        edit(root / name, change)
    options = ['--train-frames', '0-1', '--val-frames', '2-3']
    with pytest.raises(SystemExit) as error:
        main(['pandaset', '--root-path', str(root), '--out-dir', str(tmp_path / 'out'), *options])
    assert error.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith('error: ') and word in message and Path(name).parent.name in message
    assert not (tmp_path / 'out/pandaset_infos_val.pkl').exists()


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        ({}, 'one sequence only'),
        ({'train_frames': (0, 1)}, 'both'),
        ({'train_frames': (0, 2), 'val_frames': (2, 3)}, 'overlap'),
        ({'train_frames': (0, 1), 'val_frames': (2, 9)}, '2-9'),
        ({'sequences': ['777']}, '777'),
        ({'val_sequences': ['777']}, '777'),
    ],
)
def test_bad_pandaset_splits_are_refused(pandaset_root, tmp_path, options, word):
    with pytest.raises(InputError, match=word):
        pandaset.convert(pandaset_root, tmp_path, **options)


@pytest.mark.parametrize(
    ('name', 'change', 'word'),
    [
        ('v1.0-mini/sample_data.json', b'[{"token": ', 'cut short'),
        ('v1.0-mini/ego_pose.json', None, 'no such file'),
        ('maps/none.png', None, 'map mask'),
        ('v1.0-mini/ego_pose.json', lambda table: table.pop(), 'not in the tables'),
        ('v1.0-mini/ego_pose.json', lambda table: table[0].update(rotation=[2, 0, 0, 0]), 'quaternion'),
        ('v1.0-mini/calibrated_sensor.json', lambda table: table[0]['camera_intrinsic'][0].__setitem__(0, 0), 'focal'),
        ('v1.0-mini/sample_data.json', lambda table: table[0].update(width=99), '100x60'),
        ('splits.json', lambda splits: splits.update(val=['scene-x']), 'scene-x'),
        ('splits.json', b'{', 'JSON'),
    ],
)
def test_damaged_nuscenes_files_are_named(nuscenes_root, tmp_path, name, change, word):
    root = shutil.copytree(nuscenes_root, tmp_path / 'raw')
    if change is None:
        (root / name).unlink()
    elif isinstance(change, bytes):
        (root / name).write_bytes(change)
    else:
        edit(root / name, change)
    with pytest.raises(InputError, match=word):
        nuscenes.convert(root, tmp_path / 'out', version='v1.0-mini')
    assert not list((tmp_path / 'out').glob('*val*'))


def test_a_missing_version_and_a_missing_file_are_named(nuscenes_root, tmp_path):
    with pytest.raises(InputError, match=r'v1\.0-trainval'):
        nuscenes.convert(nuscenes_root, tmp_path)
    root = shutil.copytree(nuscenes_root, tmp_path / 'raw')
    next((root / 'samples/LIDAR_TOP').iterdir()).unlink()
    with pytest.raises(InputError, match=r'LIDAR_TOP.*no such file'):
        nuscenes.convert(root, tmp_path, version='v1.0-mini')


def test_bad_mmdet3d_pickles_are_refused(nuscenes_root, tmp_path):
    source = tmp_path / 'infos.pkl'
    for content in (b'', b'\x80\x04]', pickle.dumps({'metainfo': {}}), pickle.dumps({'data_list': [{'token': 'a'}]})):
        source.write_bytes(content)
        with pytest.raises(InputError, match=r'infos\.pkl'):
            from_mmdet3d_info(source, nuscenes_root, tmp_path / 'out')
