"""Waymo's records to info files: axes, boxes, lenses, splits, and a second run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from projects.DistillNeRF.datasets.converters.waymo import convert as waymo
from projects.DistillNeRF.datasets.converters.waymo import segments
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.datasets.rig_checks import ORIGIN_HEIGHT
from projects.DistillNeRF.datasets.waymo_splits import segment_name
from projects.DistillNeRF.geometry.poses import inverse_pose
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.dataset import build_dataset
from tests.helpers.waymo_surroundings import PALETTE, STREET
from tests.helpers.waymo_world import OFFSET, START, WaymoWorld
from tools.create_data import main
from verification.reference.waymo_records import file_name, write_segment

RING = ['FRONT_LEFT', 'FRONT', 'FRONT_RIGHT', 'SIDE_RIGHT', 'SIDE_LEFT']
NAMES = ('1000_0_000_20_000', '2000_0_000_20_000', '3000_0_000_20_000')


@pytest.fixture(scope='module')
def raw(tmp_path_factory) -> Path:
    """Three segments of seven frames, the last without LiDAR; tests must not change them."""
    root = tmp_path_factory.mktemp('raw')
    for name in NAMES:
        world = WaymoWorld(name)
        frames = [world.frame(number, lidar=name != NAMES[2]) for number in range(7)]
        write_segment(root / file_name(name), frames)
    return root


@pytest.fixture(scope='module')
def converted(raw: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('converted')
    waymo.convert(raw, out, val_scenes=[NAMES[1]])
    return out


@pytest.fixture(scope='module')
def undistorted(raw: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('undistorted')
    waymo.convert(raw, out, scenes=NAMES[:2], undistort=True, returns=2)
    return out


def records(out: Path, split: str = 'train') -> list[dict[str, Any]]:
    return load_infos(out / f'waymo_infos_{split}.pkl')[1]


def points_of(out: Path, info: dict[str, Any]) -> np.ndarray:
    lidar = info['lidar_points']
    return np.fromfile(out / lidar['lidar_path'], np.float32).reshape(-1, lidar['num_pts_feats'])


def colors_at(out: Path, image: dict[str, Any], pixels: np.ndarray) -> np.ndarray:
    """Which surface the image shows at pixels, as Street numbers it."""
    colors = cv2.imread(str(out / image['img_path']))[pixels[:, 1], pixels[:, 0]].astype(int)
    return np.abs(colors[:, None] - PALETTE.astype(int)).sum(-1).argmin(1) - 1


def _all_pixels(image: dict[str, Any]) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(0, image['width'], 3), np.arange(0, image['height'], 3)), -1).reshape(-1, 2)


def test_axes_are_ours(converted: Path) -> None:
    world = WaymoWorld(NAMES[0])
    for info in records(converted)[:7]:
        points = points_of(converted, info)
        np.testing.assert_allclose(info['ego2global'], world.vehicle2global(info['timestamp'] - START), atol=1e-5)
        # The road lies as deep as below nuScenes' LiDAR, x is right, y is forward.
        np.testing.assert_allclose(points[points[:, 3] == 0, 2].mean(), -ORIGIN_HEIGHT, atol=0.3)
        ahead = np.array(info['images']['FRONT']['lidar2cam'])[2, :3]
        np.testing.assert_allclose(ahead, [0, 1, 0], atol=0.02)
        right = np.array(info['images']['SIDE_RIGHT']['lidar2cam'])[2, :3]
        np.testing.assert_allclose(right, [1, 0, 0], atol=0.05)
        assert len(info['lidar_points']['origins']) == 5


def test_origins_of_beams_are_in_the_lidar_frame(converted: Path) -> None:
    info, world = records(converted)[2], WaymoWorld(NAMES[0])
    lidar, pose = info['lidar_points'], inverse_pose(np.array(info['lidar2global']))
    for delay in (-0.04, 0.03):
        time = info['timestamp'] - START + delay
        truth = pose @ world.vehicle2global(time) @ world.laser('TOP').laser2vehicle
        found = np.array(lidar['origins'][0]) + delay * np.array(lidar['origins_velocity'][0])
        np.testing.assert_allclose(found, truth[:3, 3], atol=0.006)
    assert (lidar['sensor_column'], lidar['time_column'], lidar['origins_delay']) == (5, 6, 0.0)


def test_images_are_copied_byte_by_byte(converted: Path, undistorted: Path) -> None:
    frame = WaymoWorld(NAMES[0]).frame(2, lidar=False)
    info = records(converted)[2]
    for camera, image in info['images'].items():
        assert (converted / image['img_path']).read_bytes() == frame.images[camera].jpeg
        assert image['distortion'] == pytest.approx(frame.cameras[camera].distortion)
        np.testing.assert_array_equal(image['cam2img'], frame.cameras[camera].intrinsics)
        np.testing.assert_allclose(
            np.array(image['cam2global'])[:3, 3],
            (frame.images[camera].vehicle2global @ frame.cameras[camera].camera2vehicle)[:3, 3],
        )
        assert image['timestamp'] == frame.images[camera].timestamp
        shutter = frame.images[camera].shutter
        assert image['rolling_shutter']['direction'] == 'LEFT_TO_RIGHT'
        assert image['rolling_shutter']['trigger_time'] == shutter.trigger_time
        assert image['rolling_shutter']['readout_done_time'] == shutter.readout_done_time
        assert image['ego_velocity'] == pytest.approx(frame.images[camera].velocity)
    other = records(undistorted)[2]['images']['FRONT']
    assert other['distortion'] == [0.0] * 5
    assert other['undistorted_from']['cam2img'] == info['images']['FRONT']['cam2img']
    assert other['cam2img'] != info['images']['FRONT']['cam2img']


def test_boxes_are_where_the_cars_are(converted: Path) -> None:
    info = records(converted)[4]
    time, pose = info['timestamp'] - START, np.array(info['lidar2global'])
    for box, number in zip(info['instances'], (2, 3), strict=True):
        low, high = np.array(STREET.boxes(time)[number - 1])
        x, y, z, length, width, height, yaw = box['bbox_3d']
        center = (pose @ [x, y, z, 1])[:3] - OFFSET
        np.testing.assert_allclose(center, (low + high) / 2, atol=1e-4)
        np.testing.assert_allclose([width, length, height], high - low)
        heading = pose[:3, :3] @ [np.cos(yaw), np.sin(yaw), 0]
        np.testing.assert_allclose(heading, [0, 1 if number == 2 else -1, 0], atol=0.03)
        moves = pose[:3, :3] @ [*box['velocity'], 0]
        np.testing.assert_allclose(moves, [0, 0 if number == 2 else -9, 0], atol=0.3)
        assert (box['bbox_label'], box['category'], box['num_lidar_pts']) == (0, 'vehicle', number)
    metainfo, _ = load_infos(converted / 'waymo_infos_train.pkl')
    assert metainfo['categories'] == {'vehicle': 0, 'pedestrian': 1, 'sign': 2, 'cyclist': 3}


def test_boxes_of_images_and_segmentation_follow_the_lens(converted: Path, undistorted: Path) -> None:
    kept, undone = (records(out)[0]['images']['FRONT_LEFT'] for out in (converted, undistorted))
    assert kept['boxes'] == {'bbox': [[4.0, 7.0, 24.0, 17.0]], 'type': ['pedestrian'], 'token': ['drawn']}
    assert kept['projected_boxes']['bbox'] == [[45.5, 64.0, 75.5, 76.0]]
    lens = np.array(kept['cam2img']), np.array(kept['distortion'])
    corners = np.array([[4.0, 7.0], [24, 7], [4, 17], [24, 17]])
    flat = cv2.undistortPoints(corners[:, None], *lens, None, None, np.array(undone['cam2img']))[:, 0]
    (box,) = undone['boxes']['bbox']
    np.testing.assert_allclose(box, [*flat.min(0), *flat.max(0)], atol=0.1)
    assert np.abs(np.array(box) - kept['boxes']['bbox'][0]).max() > 0.5
    for out, image in ((converted, kept), (undistorted, undone)):
        labels = cv2.imread(str(out / image['panoptic']['path']), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint16
        picture = colors_at(out, image, _all_pixels(image))
        pixels = _all_pixels(image)
        assert (labels[pixels[:, 1], pixels[:, 0]].astype(int) // 1000 - 1 == picture).mean() > 0.97
        assert (image['panoptic']['divisor'], image['panoptic']['global_ids']) == (1000, {0: 7})
    assert 'panoptic' not in records(converted)[1]['images']['FRONT']


def test_links_splits_and_the_ring(converted: Path) -> None:
    metainfo, infos = load_infos(converted / 'waymo_infos_train.pkl')
    assert metainfo['cameras'] == RING
    assert [info['scene'] for info in infos] == [NAMES[0]] * 7 + [NAMES[2]] * 7
    assert infos[0]['next'] == infos[5]['token'] and infos[5]['prev'] == infos[0]['token'] and infos[4]['next'] is None
    assert infos[0]['timestamp'] == pytest.approx(START + 0.05)
    assert {info['scene'] for info in records(converted, 'val')} == {NAMES[1]}
    assert infos[0]['attributes']['weather'] == 'sunny'


def test_segments_without_lidar_have_none(converted: Path) -> None:
    last = records(converted)[-1]
    assert last['scene'] == NAMES[2] and last['lidar_points'] is None and last['lidar_sweeps'] == []
    sizes = {'image_size': (32, 48), 'render_size': (16, 24)}
    dataset = build_dataset(converted, ann_file='waymo_infos_train.pkl', cameras=RING[:3], **sizes)
    depths = [dataset[index]['inputs']['target_views'].lidar_depth for index in (3, -1)]
    assert np.isfinite(depths[0].numpy()).sum() > 50 and np.isnan(depths[1].numpy()).all()


def test_every_nth_frame_and_three_cameras(raw: Path, tmp_path: Path) -> None:
    main(
        [
            'waymo',
            '--root-path',
            str(raw),
            '--out-dir',
            str(tmp_path),
            '--cameras',
            '3',
            '--every',
            '2',
            '--workers',
            '2',
        ]
    )
    metainfo, infos = load_infos(tmp_path / 'waymo_infos_train.pkl')
    assert metainfo['cameras'] == RING[:3]
    assert [info['frame'] for info in infos[:4]] == [0, 2, 4, 6]
    # Neighbors are at least 0.5 s apart.
    assert infos[0]['next'] == infos[3]['token']
    assert {info['scene'] for info in records(tmp_path, 'val')} == {NAMES[2]}
    assert not list(tmp_path.rglob('image_3'))


def test_lists_and_folders_choose_segments_and_splits(raw: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / 'waymo_format'
    for folder, name in (('training', NAMES[0]), ('training', NAMES[1]), ('validation', NAMES[2])):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / file_name(name)).symlink_to(raw / file_name(name))
    listed = tmp_path / 'list.txt'
    listed.write_text(f'# segments\ngs://bucket/training/{file_name(NAMES[1])}\nsegment-{NAMES[2]}  # one more\n\n')
    main(['waymo', '--root-path', str(root), '--out-dir', str(tmp_path), '--splits', str(listed), '--every', '3'])
    assert {info['scene'] for info in records(tmp_path)} == {NAMES[1]}
    assert {info['scene'] for info in records(tmp_path, 'val')} == {NAMES[2]}
    assert 'waymo_infos_val.pkl: 3 of 3 frames have no LiDAR' in capsys.readouterr().err


def test_teacher_files_lie_beside_their_images(converted: Path) -> None:
    for info in records(converted):
        for image in info['images'].values():
            folder, name = image['img_path'].rsplit('/', 2)[1:]
            number = folder.removeprefix('image_')
            place = f'kitti_format/{info["scene"]}/{{}}_{number}/{name.removesuffix(".jpg")}.npy'
            assert image['teacher'] == {'depth': place.format('depth_img'), 'sky_mask': place.format('sky_mask')}


def test_names_of_segments() -> None:
    for name in (
        NAMES[0],
        f'segment-{NAMES[0]}',
        file_name(NAMES[0]),
        f'gs://a/individual_files_training_{file_name(NAMES[0])}',
    ):
        assert segment_name(name) == NAMES[0]


def times_of(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in (out / 'kitti_format').rglob('*.*')}


def test_a_second_run_keeps_what_is_whole(raw: Path, tmp_path: Path) -> None:
    options = {'scenes': NAMES[:2], 'every': 3, 'cameras': ['FRONT', 'FRONT_LEFT']}
    waymo.convert(raw, tmp_path, **options)
    before, infos = times_of(tmp_path), records(tmp_path)
    waymo.convert(raw, tmp_path, **options)
    assert times_of(tmp_path) == before and records(tmp_path) == infos
    # A file that is gone, or cut: its segment is made again, the other is kept.
    victim = tmp_path / infos[0]['lidar_points']['lidar_path']
    victim.write_bytes(victim.read_bytes()[:-28])
    waymo.convert(raw, tmp_path, **options)
    after = times_of(tmp_path)
    assert {name for name in before if after[name] == before[name]} == {n for n in before if NAMES[1] in n}
    assert records(tmp_path) == infos
    # Other settings: made again.
    waymo.convert(raw, tmp_path, **{**options, 'cameras': ['FRONT']})
    assert list(records(tmp_path)[0]['images']) == ['FRONT']


def test_other_raw_data_are_converted_again(raw: Path, tmp_path: Path) -> None:
    path = write_segment(tmp_path / 'raw' / file_name(NAMES[0]), [WaymoWorld(NAMES[0]).frame(0, lidar=False)])
    waymo.convert(tmp_path / 'raw', tmp_path / 'out')
    assert records(tmp_path / 'out')[0]['lidar_points'] is None
    write_segment(path, [WaymoWorld(NAMES[0]).frame(0)])
    waymo.convert(tmp_path / 'raw', tmp_path / 'out')
    assert records(tmp_path / 'out')[0]['lidar_points'] is not None


# ---- what goes wrong


def damaged(raw: Path, tmp_path: Path, damage) -> Path:
    """The three segments, the second one damaged."""
    root = shutil.copytree(raw, tmp_path / 'raw')
    path = root / file_name(NAMES[1])
    path.write_bytes(damage(path.read_bytes()))
    return root


DAMAGES = {
    'truncated': (lambda content: content[:-1000], 'record 6: is cut short'),
    'wrong CRC': (lambda content: content[:-1000] + b'x' + content[-999:], 'record 6: the checksum of its data'),
    'empty': (lambda content: b'', 'the file is empty'),
}


@pytest.mark.parametrize(('kind', 'workers'), [('truncated', 1), ('wrong CRC', 2), ('empty', 1)])
def test_a_damaged_segment_does_not_stop_the_others(raw: Path, tmp_path: Path, kind: str, workers: int, capsys) -> None:
    damage, message = DAMAGES[kind]
    root, out = damaged(raw, tmp_path, damage), tmp_path / 'out'
    command = ['waymo', '--root-path', str(root), '--out-dir', str(out), '--workers', str(workers)]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f'error: {root / file_name(NAMES[1])}: {message}')
    assert '1 of 3 segments cannot be converted' in line and '--skip-incomplete-scenes' in line
    assert not list(out.glob('*.pkl'))
    assert not list(out.rglob('.*'))
    kept = times_of(out)
    assert {name for name in NAMES if (out / 'kitti_format' / name / segments.STATE).is_file()} == {NAMES[0], NAMES[2]}
    # Left out ...
    main([*command, '--skip-incomplete-scenes'])
    assert {info['scene'] for info in records(out) + records(out, 'val')} == {NAMES[0], NAMES[2]}
    # ... or restored, and the rest kept.
    shutil.copy(raw / file_name(NAMES[1]), root)
    main(command)
    assert len(records(out)) == 14
    whole = times_of(out)
    assert all(whole[name] == time for name, time in kept.items() if NAMES[1] not in name)


def test_a_missing_camera_is_named(tmp_path: Path, capsys) -> None:
    world = WaymoWorld(NAMES[0])
    frames = [world.frame(number, lidar=False) for number in range(3)]
    root = write_segment(
        tmp_path / file_name(NAMES[0]), frames, lambda made, number: number == 2 and made.images.__delitem__(3)
    ).parent
    with pytest.raises(SystemExit):
        main(['waymo', '--root-path', str(root), '--out-dir', str(tmp_path / 'out')])
    line = capsys.readouterr().err.splitlines()[-1]
    assert 'record 2: has no image of camera SIDE_LEFT' in line
    assert '--cameras FRONT FRONT_LEFT FRONT_RIGHT SIDE_RIGHT' in line
    main(
        [
            'waymo',
            '--root-path',
            str(root),
            '--out-dir',
            str(tmp_path / 'out'),
            *line.partition('out with ')[2].split(';')[0].split(),
        ]
    )
    assert len(records(tmp_path / 'out')) == 3


def test_a_full_disk_is_told_with_the_record(raw: Path, tmp_path: Path, repo_root: Path) -> None:
    """A limit on the size of files stands for a full disk: images fit, points do not."""
    script = 'ulimit -f 100; exec "$0" tools/create_data.py waymo --root-path "$1" --out-dir "$2" --every 7'
    command = ['bash', '-c', script, sys.executable, str(raw), str(tmp_path / 'out')]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(
        f'error: {raw / file_name(NAMES[0])}: record 0: {tmp_path}/out/kitti_format/{NAMES[0]}/lidar/000.bin'
    )
    assert 'could not be written (File too large); make room' in line
    assert '2 of 3 segments cannot be converted' in line
    assert not list(tmp_path.rglob('.*'))
    main(['waymo', '--root-path', str(raw), '--out-dir', str(tmp_path / 'out'), '--every', '7'])
    assert len(records(tmp_path / 'out')) == 2


@pytest.mark.parametrize('wrong', [np.inf, np.nan, 2500.0])
def test_ranges_that_cannot_be_are_refused(tmp_path: Path, wrong: float) -> None:
    frame = WaymoWorld(NAMES[0]).frame(0)
    frame.returns['REAR'].range_images[0][3, 3, 0] = wrong
    write_segment(tmp_path / file_name(NAMES[0]), [frame])
    with pytest.raises(InputError, match=f'record 0: laser REAR: a range of {wrong:g} m'):
        waymo.convert(tmp_path, tmp_path / 'out')


def test_poses_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    frame = WaymoWorld(NAMES[0]).frame(0)
    frame.returns['TOP'].pixel_poses[20, 30, 3] = np.nan
    write_segment(tmp_path / file_name(NAMES[0]), [frame])
    with pytest.raises(InputError, match='record 0: a point of its lasers is not finite'):
        waymo.convert(tmp_path, tmp_path / 'out')


def test_a_laser_that_measured_nothing_in_a_frame_is_named(tmp_path: Path) -> None:
    frame = WaymoWorld(NAMES[0]).frame(0)
    write_segment(tmp_path / file_name(NAMES[0]), [frame] * 2, lambda made, number: number and made.lasers.pop(3))
    with pytest.raises(InputError, match='record 1: has measurements of lasers, but none of SIDE_RIGHT'):
        waymo.convert(tmp_path, tmp_path / 'out')


def test_a_file_of_another_segment_is_refused(tmp_path: Path) -> None:
    write_segment(tmp_path / file_name(NAMES[1]), [WaymoWorld(NAMES[0]).frame(0, lidar=False)])
    with pytest.raises(InputError, match=f'record 0: is of segment {NAMES[0]}, not of {NAMES[1]}'):
        waymo.convert(tmp_path, tmp_path / 'out')


@pytest.mark.parametrize(
    'what',
    ['camera FRONT has other intrinsics', 'camera FRONT has other camera2vehicle', 'laser TOP has other inclinations'],
)
def test_a_sensor_that_changes_is_refused(tmp_path: Path, what: str) -> None:
    def change(made: Any, number: int) -> None:
        context = made.context
        if 'intrinsics' in what:
            context.camera_calibrations[0].intrinsic[0] += number
        elif 'camera2vehicle' in what:
            context.camera_calibrations[0].extrinsic.transform[3] += number
        else:
            context.laser_calibrations[0].beam_inclinations[0] -= 0.01 * number

    frame = WaymoWorld(NAMES[0]).frame(0)
    write_segment(tmp_path / file_name(NAMES[0]), [frame, frame], change)
    with pytest.raises(InputError, match=f'record 1: {what} than before'):
        waymo.convert(tmp_path, tmp_path / 'out')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--scene-ids', 'nowhere'], 'has no segment nowhere'),
        (['--cameras', 'BACK'], 'has no camera BACK'),
        (['--every', '0'], '--every 0: give 1 or more'),
        (['--val-scene-ids', *NAMES], 'all of its segments to convert are in the val split'),
        (['--scene-ids', NAMES[0], '--val-scene-ids', NAMES[1]], 'is none of those to convert'),
        (['--splits', 'no_list.txt'], 'no_list.txt: no such file'),
    ],
)
def test_wrong_options(raw: Path, tmp_path: Path, capsys, options: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(['waymo', '--root-path', str(raw), '--out-dir', str(tmp_path / 'out'), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_folders_without_segments(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='no such folder'):
        waymo.convert(tmp_path / 'no', tmp_path)
    with pytest.raises(InputError, match=r'holds no \*\.tfrecord'):
        waymo.convert(tmp_path, tmp_path)


# ---- the real frame


def test_the_real_frame_converts(shared_dir: Path, tmp_path: Path) -> None:
    main(['waymo', '--root-path', str(shared_dir / 'data/waymo_frame'), '--out-dir', str(tmp_path)])
    metainfo, (info,) = load_infos(tmp_path / 'waymo_infos_train.pkl')
    assert metainfo['cameras'] == RING
    assert info['lidar_points'] is None and len(info['instances']) == 75
    left = np.array(info['images']['FRONT_LEFT']['lidar2cam'])[2]
    assert left[0] < -0.6 and left[1] > 0.6
    # The boxes in space, projected through the lens, are those that Waymo projected, to some pixels.
    away = [
        np.abs(_around(box, image) - image['projected_boxes']['bbox'][number]).max()
        for camera, image in info['images'].items()
        for number, token in enumerate(image['projected_boxes']['token'])
        for box in info['instances']
        if token == f'{box["instance_token"]}_{camera}' and _is_inside(_around(box, image), image)
    ]
    assert len(away) > 30
    assert np.median(away) < 4
    # Those that walk or drive do so along their length.
    moving = [box for box in info['instances'] if np.hypot(*box['velocity']) > 1]
    turns = [np.arctan2(*box['velocity'][::-1]) - box['bbox_3d'][6] for box in moving]
    assert len(turns) > 8 and np.abs(np.sin(turns)).max() < 0.1
    assert {image['panoptic']['divisor'] for image in info['images'].values()} == {1000}


def _around(box: dict[str, Any], image: dict[str, Any]) -> np.ndarray:
    """Left, top, right and bottom of the projection of a box."""
    x, y, z, *size, yaw = box['bbox_3d']
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), -1).reshape(-1, 3) * size
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    lidar2cam = np.array(image['lidar2cam'])
    local = (corners @ turn.T + [x, y, z]) @ lidar2cam[:3, :3].T + lidar2cam[:3, 3]
    still = np.zeros(3)
    pixels = cv2.projectPoints(local, still, still, np.array(image['cam2img']), np.array(image['distortion']))[0][:, 0]
    return np.array([*pixels.min(0), *pixels.max(0)]) if (local[:, 2] > 1).all() else np.full(4, np.inf)


def _is_inside(box: np.ndarray, image: dict[str, Any]) -> bool:
    return bool(
        (box > 20).all() and (box[[0, 2]] < image['width'] - 20).all() and (box[[1, 3]] < image['height'] - 20).all()
    )
