"""Waymo's Parquet files (v2): the same frames, info files and files as from records (v1), and what goes wrong."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters.waymo import components, parquet, segments, v2
from projects.DistillNeRF.datasets.converters.waymo import convert as waymo
from projects.DistillNeRF.datasets.converters.waymo.components import Component
from projects.DistillNeRF.datasets.converters.waymo.frames import Frame, LaserReturns, Wanted
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.datasets.waymo_splits import segment_name
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import Result, run
from tests.helpers.refusals import assert_refused
from tests.helpers.waymo_frames import assert_same
from tests.helpers.waymo_parquet import Tables, schemas, write_segment
from tests.helpers.waymo_world import WaymoWorld
from verification.reference.waymo_records import file_name
from verification.reference.waymo_records import write_segment as write_records

WORLD = WaymoWorld(rows=12, columns=40, height=64, width=96)
NAMES = ('1000_0_000_20_000', '2000_0_000_20_000')
BOTH_RETURNS = Wanted(returns=2)


def frames_of(name: str, count: int = 4, lidar: bool = True) -> list[Frame]:
    world = WaymoWorld(name, WORLD.rows, WORLD.columns, WORLD.height, WORLD.width)
    return [world.frame(number, lidar) for number in range(count)]


@pytest.fixture(scope='module')
def frames() -> list[Frame]:
    return frames_of(WORLD.name)


@pytest.fixture(scope='module')
def raw(tmp_path_factory) -> Path:
    """Two segments in both formats, in v1 and v2/training; tests must not change them."""
    root = tmp_path_factory.mktemp('raw')
    for name in NAMES:
        written = frames_of(name)
        write_records(root / 'v1' / file_name(name), written)
        write_segment(root / 'v2' / 'training', written, shuffled, rows_per_group=7)
    return root


def shuffled(tables: Tables) -> None:
    """Bring the rows of sensors into other orders, as nothing says that files have them in one."""
    random = np.random.default_rng(0)
    for folder in ('camera_image', 'lidar', 'lidar_pose', 'vehicle_pose', 'camera_calibration', 'lidar_calibration'):
        random.shuffle(tables[folder])  # type: ignore[arg-type]


def by_sensor(tables: Tables) -> None:
    """All rows of one sensor, then those of the next, the last in time first."""
    for folder, sensor in (('camera_image', 'camera'), ('lidar', 'laser')):
        tables[folder].sort(key=lambda row, key=f'key.{sensor}_name': (row[key], -row['key.frame_timestamp_micros']))


def read(path: Path, wanted: Wanted = BOTH_RETURNS, every: int = 1) -> list[Frame]:
    return [frame for _, frame in v2.read_frames(path, wanted, every)]


# ---- what is read


def test_columns_are_those_of_the_official_package() -> None:
    declared = [part for part in vars(components).values() if isinstance(part, Component)]
    assert len(declared) == 12
    for component in declared:
        names = schemas()[component.folder].names
        keys = ['segment_context_name', *component.keys]
        assert {f'key.{key}' for key in keys} == {name for name in names if name.startswith('key.')}, component.folder
        read_columns = component.columns + component.nullable
        assert set(component.named(read_columns)) <= set(names), component.folder
        assert len(set(read_columns)) == len(read_columns)


@pytest.mark.parametrize(
    ('change', 'rows_per_group', 'held'),
    [(None, 256, 32), (shuffled, 256, 32), (shuffled, 3, 2), (by_sensor, 4, 1)],
    ids=['in order', 'shuffled', 'shuffled, small groups', 'by sensor, held compressed'],
)
def test_what_is_read_is_what_was_written(
    frames: list[Frame],
    tmp_path: Path,
    monkeypatch,
    change: Callable[[Tables], None] | None,
    rows_per_group: int,
    held: int,
) -> None:
    monkeypatch.setattr(parquet, 'PLAIN_ROWS', held)
    path = write_segment(tmp_path, frames, change, rows_per_group)
    assert v2.segment_name(path) == WORLD.name
    assert v2.count_frames(path) == len(frames)
    assert_same(read(path), frames)
    found = list(v2.read_frames(path, BOTH_RETURNS, every=3))
    assert [number for number, _ in found] == [0, 3]
    assert_same([frame for _, frame in found], frames[::3])


def test_only_what_is_wanted_is_read(frames: list[Frame], tmp_path: Path) -> None:
    path = write_segment(tmp_path, frames[:1])
    (found,) = read(path, Wanted(('SIDE_LEFT', 'FRONT'), returns=0))
    assert list(found.images) == list(found.cameras) == ['SIDE_LEFT', 'FRONT']
    assert found.returns == {}
    (found,) = read(path, Wanted())
    assert [len(measured.range_images) for measured in found.returns.values()] == [1] * 5


def test_projections_into_cameras_are_whole_numbers(frames: list[Frame], tmp_path: Path) -> None:
    projections = np.arange(WORLD.rows * WORLD.columns * 6, dtype=np.int32).reshape(WORLD.rows, WORLD.columns, 6)
    top = frames[1].returns['TOP']
    more = LaserReturns(top.range_images, top.pixel_poses, projections - 50)
    written = Frame(**{**vars(frames[1]), 'returns': {**frames[1].returns, 'TOP': more}})
    (found,) = read(write_segment(tmp_path, [written]), Wanted(returns=2, camera_projections=True))
    assert_same(found, written)
    assert found.returns['TOP'].camera_projections.dtype == np.int32


def test_what_is_not_known_is_none(frames: list[Frame], tmp_path: Path) -> None:
    def change(tables: Tables) -> None:
        for name in ('x', 'y', 'z'):
            tables['lidar_box'][0][f'[LiDARBoxComponent].speed.{name}'] = None
        tables['camera_image'][0]['[CameraImageComponent].rolling_shutter_params.camera_trigger_time'] = 0.0
        tables['camera_image'][1]['[CameraImageComponent].velocity.linear_velocity.x'] = None
        tables['stats'][0]['[StatsComponent].weather'] = None
        tables['lidar'][4]['[LiDARComponent].range_image_return2.values'] = None

    (found,) = read(write_segment(tmp_path, frames[:1], change))
    assert [box.velocity for box in found.boxes] == [None, frames[0].boxes[1].velocity]
    images = list(found.images.values())
    assert images[0].shutter is None and images[1].shutter is not None
    assert images[1].velocity is None and images[0].velocity is not None
    assert found.attributes == {'time_of_day': 'Day', 'location': 'location_sf'}
    assert [len(measured.range_images) for measured in found.returns.values()] == [2, 2, 2, 2, 1]


def test_rows_are_read_when_their_frame_is(frames: list[Frame], tmp_path: Path) -> None:
    """What is damaged at the end of a file does not concern the frames before: nothing is read ahead."""
    path = write_segment(tmp_path, frames, rows_per_group=5)
    lidar = tmp_path / 'lidar' / path.name
    content = bytearray(lidar.read_bytes())
    offset = parquet.pq.ParquetFile(lidar).metadata.row_group(3).column(3).data_page_offset
    content[offset + 60 : offset + 90] = b'x' * 30
    lidar.write_bytes(content)
    reader = v2.read_frames(path, BOTH_RETURNS)
    assert_same([next(reader)[1] for _ in range(3)], frames[:3])
    assert_refused(lambda: next(reader), 'row 15 or after: cannot be read', 'restore it', start=lidar)


# ---- v1 and v2


@pytest.mark.parametrize(
    'options',
    [{}, {'undistort': True, 'returns': 2, 'every': 2, 'cameras': ['3'], 'workers': 2}],
    ids=['plain', 'all options'],
)
def test_v1_and_v2_give_the_same_infos_and_files(raw: Path, tmp_path: Path, options: dict) -> None:
    outs = [tmp_path / form for form in ('v1', 'v2')]
    for out in outs:
        waymo.convert(raw / out.name, out, val_scenes=NAMES[1:], **options)
    for split in ('train', 'val'):
        (one, infos), (other, found) = (load_infos(out / f'waymo_infos_{split}.pkl') for out in outs)
        assert one == other
        assert len(infos) == len(found) == (2 if options else 4)
        # Bit by bit: pickles of the same numbers, texts and order of keys.
        assert [pickle.dumps(info) for info in infos] == [pickle.dumps(info) for info in found]
        assert infos[0]['lidar_points'] is not None and infos[0]['instances']
    files = [{str(path.relative_to(out)): path for path in out.rglob('*.*') if path.is_file()} for out in outs]
    assert list(files[0]) and set(files[0]) == set(files[1])
    written = [name for name in files[0] if name.endswith(('.jpg', '.png', '.bin'))]
    assert {Path(name).suffix for name in written} == {'.jpg', '.png', '.bin'}
    for name in written:
        assert files[0][name].read_bytes() == files[1][name].read_bytes(), name


def test_projections_of_waymo_are_compared(frames: list[Frame], tmp_path: Path) -> None:
    """All points in the upper left corner of the front image: a warning names the frame."""
    top = frames[0].returns['TOP']
    corner = np.zeros((WORLD.rows, WORLD.columns, 6), np.int32)
    corner[..., 0] = 1
    returns = {**frames[0].returns, 'TOP': LaserReturns(top.range_images, top.pixel_poses, corner)}
    write_segment(tmp_path / 'v2', [Frame(**{**vars(frames[0]), 'returns': returns})])
    result = command(tmp_path / 'v2', tmp_path / 'out')
    assert result.code == 0
    start = f'warning: {tmp_path}/v2/*/{WORLD.name}.parquet: frame 0 (frame_timestamp_micros 1553735853400000): half of'
    assert any(line.startswith(start) for line in result.err.splitlines()), result.err


def test_folders_tell_the_splits(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / 'v2'
    for component in (raw / 'v2' / 'training').iterdir():
        for split, name in zip(('training', 'validation'), NAMES, strict=True):
            (root / split / component.name).mkdir(parents=True)
            (root / split / component.name / f'{name}.parquet').symlink_to(component / f'{name}.parquet')
    result = command(root, tmp_path / 'out')
    assert result.code == 0, result.err
    for split, name in zip(('train', 'val'), NAMES, strict=True):
        assert {info['scene'] for info in load_infos(tmp_path / f'out/waymo_infos_{split}.pkl')[1]} == {name}
    assert segment_name(f'gs://bucket/training/lidar/{NAMES[0]}.parquet') == NAMES[0]


def command(root: Path, out: Path, *options: str) -> Result:
    return run('create_data', 'waymo', '--root-path', root, '--out-dir', out, *options)


# ---- what may be left out of a download


def test_segments_without_lidar_are_counted(raw: Path, tmp_path: Path) -> None:
    root, out = shutil.copytree(raw / 'v2', tmp_path / 'v2'), tmp_path / 'out'
    (root / 'training' / 'lidar' / f'{NAMES[1]}.parquet').unlink()
    result = command(root, out, '--val-scene-ids', NAMES[1])
    assert result.code == 0, result.err
    warning = next(line for line in result.err.splitlines() if 'LiDAR' in line)
    assert warning.startswith(f'warning: {root}: 1 of 2 segments have no file of lidar: their records have no LiDAR')
    lidar = [load_infos(out / f'waymo_infos_{split}.pkl')[1][0]['lidar_points'] for split in ('train', 'val')]
    assert lidar[0] is not None and lidar[1] is None
    # Downloaded at last: that segment is made again.
    shutil.copy(raw / 'v2/training/lidar' / f'{NAMES[1]}.parquet', root / 'training/lidar')
    result = command(root, out, '--val-scene-ids', NAMES[1])
    assert 'no file of' not in result.err
    assert load_infos(out / 'waymo_infos_val.pkl')[1][0]['lidar_points'] is not None


def test_images_poses_and_calibrations_are_enough(tmp_path: Path) -> None:
    def change(tables: Tables) -> None:
        for folder in set(tables) - {'camera_image', 'vehicle_pose', 'camera_calibration'}:
            del tables[folder]

    write_segment(tmp_path / 'v2', frames_of(NAMES[0]), change)
    result = command(tmp_path / 'v2', tmp_path / 'out')
    assert result.code == 0, result.err
    assert sum('1 of 1 segments have no file of' in line for line in result.err.splitlines()) == 6
    info = load_infos(tmp_path / 'out/waymo_infos_train.pkl')[1][0]
    assert (info['lidar_points'], info['instances'], info['attributes']) == (None, [], {})
    assert set(info['images']) == {'FRONT', 'FRONT_LEFT', 'FRONT_RIGHT', 'SIDE_LEFT', 'SIDE_RIGHT'}


@pytest.mark.parametrize('folder', ['camera_calibration', 'vehicle_pose', 'lidar_calibration', 'lidar_pose'])
def test_what_must_not_be_left_out(frames: list[Frame], tmp_path: Path, folder: str) -> None:
    path = write_segment(tmp_path, frames[:1], lambda tables: tables.pop(folder) and None)
    missing = tmp_path / folder / path.name
    assert_refused(lambda: read(path), f'no such file; download {folder} of this segment, too', start=missing)


# ---- what goes wrong


@pytest.mark.parametrize('folder', ['camera_image', 'lidar', 'vehicle_pose', 'lidar_box'])
def test_a_truncated_file_does_not_stop_the_other_segment(raw: Path, tmp_path: Path, folder: str) -> None:
    root, out = shutil.copytree(raw / 'v2', tmp_path / 'v2'), tmp_path / 'out'
    broken = root / 'training' / folder / f'{NAMES[1]}.parquet'
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    result = command(root, out)
    line = assert_refused(result, 'cannot be read', '1 of 2 segments cannot be converted', start=broken)
    assert 'footer' in line
    assert (out / 'kitti_format' / NAMES[0] / segments.STATE).is_file()
    assert not list(out.glob('*.pkl')) and not list(out.rglob('.*'))
    result = command(root, out, '--skip-incomplete-scenes')
    assert result.code == 0 and 'its segment is left out' in result.err
    # Restored: the rest is kept.
    before = (out / 'kitti_format' / NAMES[0] / segments.STATE).stat().st_mtime_ns
    broken.write_bytes(whole)
    assert command(root, out).code == 0
    assert (out / 'kitti_format' / NAMES[0] / segments.STATE).stat().st_mtime_ns == before
    assert {info['scene'] for info in load_infos(out / 'waymo_infos_val.pkl')[1]} == {NAMES[1]}


IMAGE, LIDAR = '[CameraImageComponent].', '[LiDARComponent].range_image_return1.'
TIME = 1553735853500000  # of frame 1


def at(folder: str, row: int, column: str, value: object) -> Callable[[Tables], None]:
    """Change a value."""
    return lambda tables: tables[folder][row].update({column: value})


def without(folder: str, rows: Sequence[int]) -> Callable[[Tables], None]:
    return lambda tables: tables.update(
        {folder: [row for number, row in enumerate(tables[folder]) if number not in rows]}
    )


DAMAGES = {
    'no pose': (without('vehicle_pose', [1]), 'vehicle_pose', f'has no pose for frame_timestamp_micros {TIME}'),
    'pose of zeros': (
        at('vehicle_pose', 1, '[VehiclePoseComponent].world_from_vehicle.transform', [0.0] * 16),
        *('vehicle_pose', f'frame_timestamp_micros {TIME}: the pose of the frame'),
    ),
    'pose of an image': (
        at('camera_image', 7, f'{IMAGE}pose.transform', [0.0] * 16),
        *('camera_image', f'frame_timestamp_micros {TIME}: camera FRONT_RIGHT: the pose of its image'),
    ),
    'null': (at('camera_image', 7, f'{IMAGE}image', None), 'camera_image', 'row 7: lacks image'),
    'null time': (
        at('camera_image', 7, 'key.frame_timestamp_micros', None),
        *('camera_image', 'row 7: lacks a part of its key'),
    ),
    'nothing': (without('camera_image', range(20)), 'camera_image', 'holds no row'),
    'unknown laser': (
        at('lidar', 6, 'key.laser_name', 6),
        *('lidar', f'row 6: frame_timestamp_micros {TIME}: has an unknown laser (known are TOP, '),
    ),
    'unknown camera': (
        at('camera_image', 6, 'key.camera_name', 0),
        *('camera_image', f'row 6: frame_timestamp_micros {TIME}: has an unknown camera'),
    ),
    'calibration of an unknown laser': (
        at('lidar_calibration', 1, 'key.laser_name', 9),
        *('lidar_calibration', 'laser_name 9: has an unknown laser'),
    ),
    'unknown type': (
        at('lidar_box', 0, '[LiDARBoxComponent].type', 5),
        *('lidar_box', 'object PARKED: is of unknown kind 5, not 0 to 4'),
    ),
    'NaN in a box': (
        at('camera_box', 5, '[CameraBoxComponent].box.size.x', float('nan')),
        *('camera_box', f'frame_timestamp_micros {TIME}: camera FRONT: a box in its image holds NaN'),
    ),
    'NaN in a velocity': (
        at('camera_image', 5, f'{IMAGE}velocity.angular_velocity.z', float('nan')),
        *('camera_image', f'frame_timestamp_micros {TIME}: camera FRONT: the velocity of the vehicle holds NaN'),
    ),
    'shutter': (
        at('camera_image', 5, f'{IMAGE}rolling_shutter_params.camera_trigger_time', 1.0),
        *('camera_image', f'frame_timestamp_micros {TIME}: camera FRONT: the times of its shutter contradict'),
    ),
    'inclinations': (
        at('lidar_calibration', 0, '[LiDARCalibrationComponent].beam_inclination.values', [0.1] * 12),
        *('lidar_calibration', 'laser TOP: the inclinations of its beams are no rising angles'),
    ),
    'twice': (at('lidar', 6, 'key.laser_name', 1), 'lidar', 'row 6: has the same keys as a row before'),
    'no lidar in a frame': (without('lidar', range(5, 10)), 'lidar', f'has no row for frame_timestamp_micros {TIME}'),
    'no poses of pixels': (
        without('lidar_pose', [1]),
        *('lidar_pose', f'frame_timestamp_micros {TIME}: laser TOP: has no pose of each pixel'),
    ),
    'shape': (
        at('lidar', 5, f'{LIDAR}shape', [12, 40, 3]),
        *('lidar', f'frame_timestamp_micros {TIME}: laser TOP: an array of shape (12, 40, 3) has 1920 numbers'),
    ),
    'null number': (
        at('lidar', 5, f'{LIDAR}values', [None] * 1920),
        'lidar',
        'row 5: range_image_return1.values: lacks',
    ),
    'row of another segment': (
        at('lidar', 5, 'key.segment_context_name', 'other'),
        *('lidar', f'row 5: is of segment other, not of {NAMES[0]}'),
    ),
    'file of another segment': (
        lambda tables: [row.update({'key.segment_context_name': 'other'}) for row in tables['lidar']],
        *('lidar', f'is of segment other, not of {NAMES[0]} as camera_image is'),
    ),
}


@pytest.mark.parametrize('kind', DAMAGES)
def test_damaged_rows_are_named(tmp_path: Path, kind: str) -> None:
    change, folder, message = DAMAGES[kind]
    path = write_segment(tmp_path, frames_of(NAMES[0]), change)
    assert_refused(lambda: read(path), message, start=tmp_path / folder / path.name)


def test_a_missing_camera_is_named(tmp_path: Path) -> None:
    write_segment(tmp_path / 'v2', frames_of(NAMES[0]), without('camera_image', [8]))
    result = command(tmp_path / 'v2', tmp_path / 'out')
    start = f'{tmp_path}/v2/*/{NAMES[0]}.parquet: frame 1 (frame_timestamp_micros {TIME}): has no image of'
    line = assert_refused(result, start=f'{start} camera SIDE_LEFT')
    assert '--cameras FRONT FRONT_LEFT FRONT_RIGHT SIDE_RIGHT' in line


def test_a_column_that_is_not_there_is_named(frames: list[Frame], tmp_path: Path) -> None:
    path = write_segment(tmp_path, frames[:1])
    table = parquet.pq.read_table(path)
    parquet.pq.write_table(table.drop_columns([f'{IMAGE}pose_timestamp']), path)
    assert_refused(lambda: read(path), f'has no column {IMAGE}pose_timestamp, as camera_image of v2 has', start=path)


def test_a_file_under_another_name_is_refused(frames: list[Frame], tmp_path: Path) -> None:
    write_segment(tmp_path / 'v2', frames[:1], name=NAMES[0])
    with pytest.raises(InputError, match=f'is of segment {WORLD.name}, not of {NAMES[0]}'):
        waymo.convert(tmp_path / 'v2', tmp_path / 'out')


def test_folders_of_both_formats_or_none(raw: Path, tmp_path: Path) -> None:
    line = assert_refused(command(raw, tmp_path / 'out'), 'give the folder of one of them', start=raw)
    assert 'TFRecords' in line and 'Parquet' in line
    only = tmp_path / 'only'
    shutil.copytree(raw / 'v2/training/lidar', only / 'lidar')
    assert_refused(command(only, tmp_path / 'out'), 'no camera_image/*.parquet', start=only)


def test_tensorflow_is_not_imported(frames: list[Frame], tmp_path: Path, repo_root: Path) -> None:
    path = write_segment(tmp_path, frames[:1])
    code = (
        'import sys\n'
        'sys.modules["tensorflow"] = sys.modules["waymo_open_dataset"] = None  # an import of them raises\n'
        'from pathlib import Path\n'
        'from projects.DistillNeRF.datasets.converters.waymo import v2\n'
        f'((_, frame),) = v2.read_frames(Path({str(path)!r}), v2.Wanted())\n'
        'print(len(frame.images), len(frame.returns))\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=repo_root, check=True)
    assert done.stdout == '5 5\n'
