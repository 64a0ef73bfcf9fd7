"""Raw PandaSet as people have it: unpacked, renamed, in part, with other cameras, changed after a conversion."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from projects.DistillNeRF.datasets.converters import pandaset, pandaset_points
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.dataset import build_dataset
from tests.helpers.rawdata import pandaset_world, write_pandaset
from tools.create_data import main

FRAMES = {'train_frames': (0, 1), 'val_frames': (2, 3)}
LIDAR = '001/lidar/00.pkl.gz'
RIGHT, LEFT = 'front_right_camera', 'left_camera'


@pytest.fixture(scope='module')
def published(tmp_path_factory) -> Path:
    """Four frames, two of them with LiDAR; tests must not change it."""
    root = tmp_path_factory.mktemp('published')
    write_pandaset(pandaset_world(frames=4, lidar_frames=(0, 2)), root)
    return root


@pytest.fixture()
def raw(published, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(published, tmp_path / 'raw')


def points(out: Path, frame: int = 0) -> np.ndarray:
    return np.fromfile(out / f'lidar/001/{frame:02d}.bin', np.float32).reshape(-1, 6)


def records(out: Path, split: str = 'train') -> list[dict]:
    return load_infos(out / f'pandaset_infos_{split}.pkl')[1]


def unpack(path: Path) -> None:
    path.with_suffix('').write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


@pytest.fixture()
def expected(published, tmp_path) -> Path:
    """What the published files are converted to."""
    pandaset.convert(published, tmp_path / 'expected', **FRAMES)
    return tmp_path / 'expected'


def rename_all(root: Path, pattern: str, change) -> None:
    for path in sorted(root.glob(pattern)):
        path.rename(path.with_name(change(path.name)))


@pytest.mark.parametrize(
    'change',
    [
        lambda root: [unpack(path) for path in sorted(root.rglob('*.pkl.gz'))],
        lambda root: rename_all(root, '**/*.pkl.gz', lambda name: name[:-3]),
        lambda root: rename_all(root, '**/*.pkl.gz', lambda name: f'0{name}'),
        lambda root: rename_all(root, '**/*.pkl.gz', lambda name: name.lstrip('0').rjust(8, '0')),
        lambda root: rename_all(root, '**/*.pkl.gz', str.upper),
        lambda root: shutil.copy(root / LIDAR, root / '001/lidar/0.pkl.gz'),
    ],
    ids=['unpacked', 'suffix', 'three digits', 'one digit', 'capitals', 'twice'],
)
def test_tables_are_found_however_they_are_spelled(raw, expected, tmp_path, change):
    change(raw)
    pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    for split in ('train', 'val'):
        for info, other in zip(records(tmp_path / 'out', split), records(expected, split), strict=True):
            assert bool(info['lidar_points']) == bool(other['lidar_points'])
            assert info['instances'] == other['instances']
    for name in ('00.bin', '00.classes.bin', '02.bin', '02.classes.bin'):
        assert (tmp_path / 'out/lidar/001' / name).read_bytes() == (expected / 'lidar/001' / name).read_bytes()


def test_one_frame_in_two_spellings_is_one_if_they_hold_the_same(raw, expected, tmp_path):
    path = raw / LIDAR
    table = pd.read_pickle(path)
    table.to_pickle(path.with_suffix(''))
    pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    assert np.array_equal(points(tmp_path / 'out'), points(expected))
    table.assign(x=table['x'] + 1).to_pickle(path.with_suffix(''))
    with pytest.raises(InputError, match=r'00\.pkl\.gz: 00\.pkl is of the same frame and holds something else'):
        pandaset.convert(raw, tmp_path / 'other', **FRAMES)


@pytest.mark.parametrize('folder', ['lidar', 'annotations/cuboids', 'annotations/semseg', 'camera/left_camera'])
def test_a_folder_of_unreadable_names_is_refused(raw, tmp_path, capsys, folder):
    for path in [path for path in (raw / '001' / folder).iterdir() if path.suffix != '.json']:
        path.rename(path.with_name(f'frame_{path.name}'))
    with pytest.raises(SystemExit) as error:
        main(['pandaset', '--root-path', str(raw), '--out-dir', str(tmp_path / 'out'), *SPLIT])
    message = capsys.readouterr().err.splitlines()[-1]
    assert error.value.code == 2 and message.startswith(f'error: {raw}/001/{folder}: none of its')
    assert 'frame_0' in message and message.endswith('rename them')
    assert not (tmp_path / 'out').exists()


SPLIT = ['--train-frames', '0-1', '--val-frames', '2-3']


def test_what_is_missing_is_counted(raw, tmp_path, capsys):
    (raw / '001/lidar/02.pkl.gz').unlink()
    (raw / '001/annotations/semseg/00.pkl.gz').unlink()
    (raw / '001/lidar/notes.txt').write_text('')
    pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f'warning: {raw}')]
    passed = f'warning: {raw}/001/lidar: 1 of its files are passed over (notes.txt, ...): they are not named by the'
    assert [line.startswith(passed) for line in warnings] == [True, False, True, False]
    assert warnings[1] == (
        f'warning: {raw}/001: 1 of 2 frames have no LiDAR; 1 of 1 frames have no classes of LiDAR points; '
        '1 of 2 frames have no cuboids'
    )
    assert warnings[3] == f'warning: {raw}/001: 2 of 2 frames have no LiDAR; 2 of 2 frames have no cuboids'


def test_frames_without_all_images_are_left_out_and_counted(raw, tmp_path, capsys):
    second = shutil.copytree(raw / '001', raw / '002')
    (second / 'camera/left_camera/01.jpg').unlink()
    (second / 'camera/back_camera/03.jpg').unlink()
    pandaset.convert(raw, tmp_path / 'out', val_sequences=['001'])
    assert [info['frame'] for info in records(tmp_path / 'out')] == [0, 2]
    assert f'{second}: 2 of 4 frames lack images of back_camera (1), left_camera (1)' in capsys.readouterr().err


def test_images_of_other_suffixes_and_widths_are_found(raw, tmp_path):
    for path in (raw / '001/camera/front_camera').glob('*.jpg'):
        path.rename(path.with_name(f'0{path.stem}.jpeg'))
    pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    paths = [info['images']['front_camera']['img_path'] for info in records(tmp_path / 'out')]
    assert paths == ['001/camera/front_camera/000.jpeg', '001/camera/front_camera/001.jpeg']
    assert [info['token'] for info in records(tmp_path / 'out')] == ['001_00', '001_01']


@pytest.mark.parametrize(
    ('names', 'word'),
    [({'7': 'Street', '13': 'Auto'}, 'classes.json: names none of'), ({}, 'classes.json: names none of')],
)
def test_classes_without_a_known_name_are_refused(raw, tmp_path, names, word):
    (raw / '001/annotations/semseg/classes.json').write_text(json.dumps(names))
    with pytest.raises(InputError, match=word):
        pandaset.convert(raw, tmp_path / 'out', **FRAMES)


def test_points_of_unnamed_classes_are_counted(raw, tmp_path, capsys):
    (raw / '001/annotations/semseg/classes.json').write_text('{"7": "Road", "13": "Car"}')
    pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    assert 'semseg: 1 points have a class that classes.json does not name' in capsys.readouterr().err


def test_cuboids_without_a_column_and_empty_lidar_are_refused(raw, tmp_path):
    cuboids = raw / '001/annotations/cuboids/00.pkl.gz'
    table = pd.read_pickle(cuboids)
    table.drop(columns='yaw').to_pickle(cuboids)
    with pytest.raises(InputError, match=r'cuboids/00\.pkl\.gz: lacks the columns yaw'):
        pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    table.assign(yaw=np.nan).to_pickle(cuboids)
    with pytest.raises(InputError, match=r'cuboids/00\.pkl\.gz: holds NaN'):
        pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    table.to_pickle(cuboids)
    lidar = raw / LIDAR
    pd.read_pickle(lidar)[:0].to_pickle(lidar)
    with pytest.raises(InputError, match=r'lidar/00\.pkl\.gz: holds no points'):
        pandaset.convert(raw, tmp_path / 'other', **FRAMES)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (
            lambda table: table.assign(t=1000 * (table['t'] + 0.05)),
            r'\(column t\) is 50 s from the time stamp',
        ),
        (lambda table: table.assign(t=table['t'] + 1557539956.5), 'more than 1 s; both are seconds of one clock'),
        (lambda table: table.assign(t=np.nan), 'holds NaN'),
        (lambda table: table.assign(t='soon'), 'are not numbers'),
        (lambda table: table.drop(columns='t'), 'lacks the columns t'),
    ],
)
def test_times_of_points_that_cannot_be_are_refused(raw, tmp_path, change, word):
    change(pd.read_pickle(raw / LIDAR)).to_pickle(raw / LIDAR)
    with pytest.raises(InputError, match=rf'lidar/00\.pkl\.gz: .*{word}') as caught:
        pandaset.convert(raw, tmp_path / 'out', **FRAMES)
    assert '\n' not in str(caught.value)
    assert not list((tmp_path / 'out').rglob('*.bin'))


def test_points_are_made_again_when_their_frame_has_another_time(raw, tmp_path):
    pandaset.convert(raw, tmp_path, **FRAMES)
    before = points(tmp_path)
    path = raw / '001/lidar/timestamps.json'
    path.write_text(json.dumps([time + 0.05 for time in json.loads(path.read_text())]))
    pandaset.convert(raw, tmp_path, **FRAMES)
    np.testing.assert_allclose(points(tmp_path)[:, 5] - before[:, 5], -0.05, atol=1e-6)
    np.testing.assert_array_equal(points(tmp_path)[:, :5], before[:, :5])


def test_heights_alone_in_millimeters_are_refused(raw, tmp_path):
    """Most points of the box world are on the ground, at a height that is zero in any unit."""
    lidar = raw / LIDAR
    table = pd.read_pickle(lidar)
    table.assign(z=1000 * table['z']).to_pickle(lidar)
    with pytest.raises(InputError, match=r'lidar/00\.pkl\.gz: a quarter of its points are farther than 300 m'):
        pandaset.convert(raw, tmp_path / 'out', **FRAMES)


@pytest.mark.parametrize(
    ('times', 'word'),
    [
        ([0, 1e5, 2e5, 3e5], 'give seconds'),
        ([0, 0, 0, 0], 'give seconds'),
        ([0, 'x', 1, 2], 'no list of times'),
        ({}, 'no list of times'),
    ],
)
def test_times_that_are_not_rising_seconds_are_refused(raw, tmp_path, times, word):
    (raw / '001/lidar/timestamps.json').write_text(json.dumps(times))
    with pytest.raises(InputError, match=word):
        pandaset.convert(raw, tmp_path / 'out', **FRAMES)


# --- what was made knows what it was made from


def move_vehicle(root: Path, by: float = 2.0) -> None:
    path = root / '001/lidar/poses.json'
    poses = json.loads(path.read_text())
    for pose in poses:
        pose['position']['x'] += by
    path.write_text(json.dumps(poses))


def test_points_are_made_again_when_the_poses_change(raw, tmp_path, capsys):
    out = tmp_path / 'out'
    pandaset.convert(raw, out, **FRAMES)
    pandaset.convert(raw, tmp_path / 'copy', **FRAMES)
    before = points(out)
    move_vehicle(raw)
    capsys.readouterr()
    pandaset.convert(raw, out, **FRAMES)
    fresh = tmp_path / 'fresh'
    assert f'{out}/lidar/001: 1 files were made from other raw data or poses' in capsys.readouterr().err
    pandaset.convert(raw, fresh, **FRAMES)
    assert np.array_equal(points(out), points(fresh)) and not np.allclose(points(out), before, atol=1)
    assert np.allclose(np.linalg.norm((points(out) - before)[:, :3], axis=1), 2.0, atol=1e-3)
    # An info file of before the change reads points of after it: it must not.
    shutil.copy(tmp_path / 'copy/pandaset_infos_train.pkl', out / 'old.pkl')
    with pytest.raises(InputError, match=r'00\.bin: was made again from other raw data or poses since the info file'):
        build_dataset(out, ann_file='old.pkl', data_prefix={'img': str(raw)})
    build_dataset(out, ann_file='pandaset_infos_train.pkl', data_prefix={'img': str(raw)})


def change_points(root: Path) -> None:
    table = pd.read_pickle(root / LIDAR)
    table.assign(z=table['z'] + 1).to_pickle(root / LIDAR)


def change_names(root: Path) -> None:
    path = root / '001/annotations/semseg/classes.json'
    path.write_text(path.read_text().replace('Car', 'Bus'))


@pytest.mark.parametrize(
    ('change', 'made_again'),
    [
        (lambda raw, out, patch: change_points(raw), {'00.bin'}),
        (lambda raw, out, patch: change_names(raw), {'00.classes.bin', '02.classes.bin'}),
        (
            lambda raw, out, patch: patch.setattr(pandaset_points, 'VERSION', 99),
            {'00.bin', '00.classes.bin', '02.bin', '02.classes.bin'},
        ),
        (
            lambda raw, out, patch: patch.setitem(pandaset_points.CLASS_OF_NAME, 'Car', 'bus'),
            {'00.classes.bin', '02.classes.bin'},
        ),
        (lambda raw, out, patch: (out / '00.bin').write_bytes(b''), {'00.bin'}),
        (lambda raw, out, patch: (out / '02.bin').write_bytes(bytes((out / '02.bin').stat().st_size)), {'02.bin'}),
        (lambda raw, out, patch: (out / '02.classes.bin').unlink(), {'02.classes.bin'}),
        (
            lambda raw, out, patch: (out / 'made_from.json').write_text('{"00.bin": '),
            {'00.bin', '00.classes.bin', '02.bin', '02.classes.bin'},
        ),
        (lambda raw, out, patch: None, set()),
    ],
    ids=['points', 'names', 'version', 'mapping', 'truncated', 'overwritten', 'removed', 'damaged record', 'nothing'],
)
def test_exactly_what_changed_is_made_again(raw, tmp_path, monkeypatch, change, made_again):
    out = tmp_path / 'out'
    pandaset.convert(raw, out, **FRAMES)
    change(raw, out / 'lidar/001', monkeypatch)
    files = sorted((out / 'lidar/001').glob('*.bin'))
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    pandaset.convert(raw, out, **FRAMES)
    pandaset.convert(raw, tmp_path / 'fresh', **FRAMES)
    after = {path.name: path.stat() for path in (out / 'lidar/001').glob('*.bin')}
    changed = {name for name, stat in after.items() if before.get(name) != (stat.st_ino, stat.st_mtime_ns)}
    assert changed == made_again
    for path in (tmp_path / 'fresh/lidar/001').glob('*.bin'):
        assert path.read_bytes() == (out / 'lidar/001' / path.name).read_bytes()


def test_files_without_a_record_are_made_again(raw, tmp_path):
    out = tmp_path / 'out'
    pandaset.convert(raw, out, **FRAMES)
    (out / 'lidar/001/made_from.json').unlink()
    (out / 'lidar/001/00.bin').write_bytes(bytes(24))
    pandaset.convert(raw, out, **FRAMES)
    assert len(points(out)) > 1


# --- keys


def test_two_sequences_have_files_of_their_own(raw, tmp_path):
    shutil.copytree(raw / '001', raw / '002')
    pandaset.convert(raw, tmp_path, **FRAMES, workers=2)
    images = [info['images']['front_camera'] for info in records(tmp_path) if info['frame'] == 0]
    assert [image['teacher']['depth'] for image in images] == [
        'samples_0_0_0_0_0_0/depths/front_camera/001_00.npy',
        'samples_0_0_0_0_0_0/depths/front_camera/002_00.npy',
    ]
    assert [image['teacher']['sky_mask'] for image in images] == [
        'samples_0_0_0_0_0_0/gt_sky_masks/front_camera/001_00.npy',
        'samples_0_0_0_0_0_0/gt_sky_masks/front_camera/002_00.npy',
    ]
    assert [image['features'] for image in images] == ['front_camera/001_00.npy', 'front_camera/002_00.npy']


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        ({'sequences': ['001', '001'], **FRAMES}, 'named twice'),
        ({'sequences': ['001', '001/'], **FRAMES}, 'named twice'),
        ({'val_sequences': ['001']}, 'leave some for training'),
    ],
)
def test_sequences_named_twice_or_all_for_validation_are_refused(published, tmp_path, options, word):
    with pytest.raises(InputError, match=word):
        pandaset.convert(published, tmp_path, **options)


# --- cameras


def rename_camera(root: Path, old: str, new: str) -> None:
    (root / f'001/camera/{old}').rename(root / f'001/camera/{new}')


def test_fewer_and_other_cameras_come_in_ring_order(raw, tmp_path, capsys):
    shutil.rmtree(raw / f'001/camera/{RIGHT}')
    rename_camera(raw, 'front_camera', 'z_wide')
    pandaset.convert(raw, tmp_path, **FRAMES)
    metainfo, infos = load_infos(tmp_path / 'pandaset_infos_train.pkl')
    order = ['front_left_camera', 'z_wide', 'right_camera', 'back_camera', 'left_camera']
    assert metainfo['cameras'] == order and all(list(info['images']) == order for info in infos)
    assert 'has no images of front_camera, front_right_camera; converted are back_camera,' in capsys.readouterr().err
    dataset = build_dataset(tmp_path, ann_file='pandaset_infos_train.pkl', data_prefix={'img': str(raw)})
    assert dataset[0]['inputs']['input_views'].names == tuple(order)


def test_cameras_are_chosen(raw, tmp_path, capsys):
    arguments = ['pandaset', '--root-path', str(raw), '--out-dir', str(tmp_path), *SPLIT, '--cameras']
    main([*arguments, 'back_camera', LEFT, 'front_camera'])
    assert load_infos(tmp_path / 'pandaset_infos_val.pkl')[0]['cameras'] == ['front_camera', 'back_camera', LEFT]
    with pytest.raises(SystemExit):
        main([*arguments, 'top_camera'])
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f'error: {raw}/001: has no camera top_camera; give --cameras some of back_camera, ')


def test_a_camera_without_images_is_left_out(raw, tmp_path, capsys):
    for path in (raw / f'001/camera/{LEFT}').glob('*.jpg'):
        path.unlink()
    pandaset.convert(raw, tmp_path, **FRAMES)
    assert LEFT not in load_infos(tmp_path / 'pandaset_infos_train.pkl')[0]['cameras']
    assert f'camera: {LEFT} holds no images and is passed over' in capsys.readouterr().err


def test_sequences_with_different_cameras_share_those_of_all(raw, tmp_path, capsys):
    shutil.copytree(raw / '001', raw / '002')
    shutil.rmtree(raw / f'002/camera/{RIGHT}')
    pandaset.convert(raw, tmp_path, **FRAMES)
    metainfo, infos = load_infos(tmp_path / 'pandaset_infos_train.pkl')
    assert RIGHT not in metainfo['cameras'] and len(metainfo['cameras']) == 5
    assert [RIGHT in info['images'] for info in infos] == [True, True, False, False]
    assert f'only some of its 4 samples have {RIGHT} (2)' in capsys.readouterr().err
    build_dataset(tmp_path, ann_file='pandaset_infos_train.pkl', data_prefix={'img': str(raw)})
