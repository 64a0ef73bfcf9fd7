"""All images and sweeps of a drive: their frame, their order, where beams begin and end, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from mmengine.config import Config

from projects.DistillNeRF.datasets.converters import nuscenes, pandaset, pandaset_points
from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.engine.teachers import LIDAR, TeacherSource
from projects.DistillNeRF.scene_nerf.drive import Drive, DriveSweep, load_drive, scene_names
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.rawdata import BOX_CAMERA, pandaset_world, vehicle2global, write_nuscenes, write_pandaset

WORLD = BoxWorld()
# Measurements of every sensor from keyframe to keyframe, 0.5 s apart.
BETWEEN = 2


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """Two scenes of the box world as nuScenes tables, converted with what lies between keyframes."""
    root = tmp_path_factory.mktemp('drive')
    write_nuscenes(WORLD, root, {'train': ['scene-a', 'scene-b']}, BETWEEN)
    nuscenes.convert(root, root, version='v1.0-mini', image_sweeps=True)
    return root


def ann_file(root: Path) -> str:
    return str(root / 'nuscenes_infos_train.pkl')


def load(root: Path, *files: str, scene: str = 'scene-a', img: Path | None = None) -> Drive:
    roots = {'img': str(img or root), 'lidar': str(root), 'truth': str(img or root)}
    return load_drive(files or [ann_file(root)], scene, roots)


@pytest.fixture(scope='module')
def drive(root) -> Drive:
    return load(root)


def changed(root: Path, folder: Path, change, count: int | None = None) -> str:
    """Write an info file whose records of scene-a, or so many of them, are changed; return its name."""
    metainfo, infos = load_infos(ann_file(root))
    infos = [info for info in infos if info['scene'] == 'scene-a'][:count]
    infos[-1]['next'] = None
    for info in infos:
        change(info)
    save_infos(folder / 'changed.pkl', 'boxes', metainfo['cameras'], infos)
    return str(folder / 'changed.pkl')


def global2scene(world: BoxWorld = WORLD) -> np.ndarray:
    return np.linalg.inv(world.ego2global(0) @ world.lidar2ego)


def test_the_scene_frame_is_the_lidar_frame_of_the_first_keyframe(drive):
    np.testing.assert_allclose(drive.sweeps[0].lidar2scene, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(drive.scene2global, np.linalg.inv(global2scene()), atol=1e-9)
    for image in drive.images:
        pose = WORLD.ego2global(image.timestamp / 0.5) @ WORLD.cam2ego(BOX_CAMERA[image.camera])
        np.testing.assert_allclose(image.cam2scene, global2scene() @ pose, atol=1e-6)
    for sweep in drive.sweeps:
        pose = WORLD.ego2global(sweep.timestamp / 0.5) @ WORLD.lidar2ego
        np.testing.assert_allclose(sweep.lidar2scene, global2scene() @ pose, atol=1e-6)


def test_everything_is_there_once_in_order_of_time(drive):
    assert drive.cameras == nuscenes.CAMERAS and drive.keyframes == (0, 1, 2)
    assert len(drive.images) == 6 * (3 + 2 * BETWEEN) and len(drive.sweeps) == 3 + 2 * BETWEEN
    assert len({image.path for image in drive.images}) == len(drive.images)
    for parts in (drive.images, drive.sweeps):
        times = [part.timestamp for part in parts]
        assert times == sorted(times)
    assert [sweep.frame for sweep in drive.sweeps] == [0, None, None, 1, None, None, 2]
    for camera in drive.cameras:
        frames = [image.frame for image in drive.images if image.camera == camera]
        assert frames == [0, None, None, 1, None, None, 2]
    assert all(bool(image.teacher) == (image.frame is not None) for image in drive.images)


def test_scenes_are_kept_apart(root, drive):
    assert scene_names([ann_file(root)]) == ('scene-a', 'scene-b')
    other = load(root, scene='scene-b')
    assert not {image.path for image in drive.images} & {image.path for image in other.images}


def test_images_are_read_in_rgb_at_any_size_with_their_camera(drive):
    image = drive.images[0]
    true, _ = WORLD.view(np.linalg.inv(global2scene()) @ image.cam2scene)
    np.testing.assert_array_equal(image.read(60, 100), true)
    assert image.read(30, 50).shape == (30, 50, 3)
    camera = image.camera_at(30, 50)
    assert (len(camera), camera.height, camera.width) == (1, 30, 50)
    np.testing.assert_allclose(camera.intrinsics[0, :2], WORLD.intrinsics[:2] / 2)
    assert camera.cam2world.dtype == torch.float64


def test_an_image_of_another_size_than_its_record_is_refused(drive):
    image = dataclasses.replace(drive.images[0], width=50)
    refused(lambda: image.read(60, 100), 'the image is 100x60, its record says 50x60')


def test_beams_begin_at_the_sensor_and_end_on_the_points(drive):
    for sweep in drive.sweeps[:5]:
        begins, ends = sweep.beams()
        np.testing.assert_allclose(begins, np.broadcast_to(sweep.lidar2scene[:3, 3], begins.shape), atol=1e-5)
        lidar2global = drive.scene2global @ sweep.lidar2scene
        points = WORLD.points(lidar2global)[:, :3]
        np.testing.assert_allclose(ends, points @ sweep.lidar2scene[:3, :3].T + sweep.lidar2scene[:3, 3], atol=1e-3)
        # Along every beam the world is free up to its end.
        rotation = drive.scene2global[:3, :3]
        distance, _ = WORLD.cast(lidar2global[:3, 3], (ends - begins) @ rotation.T)
        np.testing.assert_allclose(distance, 1, atol=1e-3)


def test_points_of_a_minitown_drive_lie_at_the_true_depth(town):
    """Keyframe and other sweeps, each projected into the images of keyframes nearest in time."""
    files = [str(town / f'minitown_infos_{split}.pkl') for split in ('train', 'val')]
    drive = load(town, *files, scene='minitown-0001')
    assert sum(image.frame is None for image in drive.images) == 12
    keyframes = [image for image in drive.images if image.truth]
    found = 0
    for sweep in drive.sweeps:
        _, ends = sweep.beams()
        for image in keyframes:
            if abs(image.timestamp - sweep.timestamp) > 0.12:
                continue
            camera = image.camera_at(image.height, image.width)
            inside = np.linalg.inv(image.cam2scene)
            local = ends @ inside[:3, :3].T + inside[:3, 3]
            local = local[local[:, 2] > 1.0]
            u, v, _ = np.round((local / local[:, 2:]) @ camera.intrinsics[0].numpy().T).astype(int).T
            seen = (u >= 0) & (u < image.width) & (v >= 0) & (v < image.height)
            true = np.load(image.truth['depth'])[v[seen], u[seen]].astype(float)
            ratio = local[seen, 2] / true
            assert np.nanmedian(np.abs(ratio - 1)) < 0.03
            assert np.nanmean(np.abs(ratio - 1) < 0.1) > 0.85
            found += int(seen.sum())
    assert found > 1000


# PandaSet.


def delays_of(count: int) -> np.ndarray:
    """Seconds from the time stamp of a frame to each of its points."""
    return 0.03 - 0.05 * (np.arange(count) % 4)


@pytest.fixture
def pandaset_drive(tmp_path) -> tuple[BoxWorld, Drive]:
    """Frames 0 to 3 are of one split, 4 and 5 of the other; every other point is of the forward LiDAR.

    Points of a frame are from 0.12 s before its time stamp to 0.03 s after.
    """
    world = pandaset_world(frames=6, lidar_frames=(0, 2, 3, 5), size=(12, 20))
    write_pandaset(world, tmp_path / 'raw')
    for path in (tmp_path / 'raw/001/lidar').glob('*.pkl.gz'):
        table = pd.read_pickle(path)
        number = np.arange(len(table))
        table.assign(d=number % 2, t=table['t'] + delays_of(len(table))).to_pickle(path)
    files = pandaset.convert(tmp_path / 'raw', tmp_path, train_frames=(0, 3), val_frames=(4, 5), step=1)
    return world, load(tmp_path, *map(str, files), scene='001', img=tmp_path / 'raw')


def test_info_files_of_one_scene_are_joined(pandaset_drive):
    _, drive = pandaset_drive
    assert drive.keyframes == tuple(range(6)) and len(drive.images) == 36
    # Frame 0 lists the sweeps of 2 as neighbors; they stay those of their own frames.
    assert [sweep.frame for sweep in drive.sweeps] == [0, 2, 3, 5]
    assert [round(sweep.timestamp, 3) for sweep in drive.sweeps] == [0.0, 0.2, 0.3, 0.5]
    again = {image.path: image for image in drive.images}
    assert len(again) == len(drive.images)


def test_beams_of_two_sensors_begin_where_these_were_at_their_time(pandaset_drive):
    """Between the poses of the frame and the one before, or beyond; of the first frame, the one after."""
    world, drive = pandaset_drive
    for sweep, frame in zip(drive.sweeps, (0, 2, 3, 5), strict=True):
        begins, ends, delays = sweep.timed_beams()
        np.testing.assert_allclose(delays, delays_of(len(ends)), atol=1e-6)
        assert begins.dtype == ends.dtype == delays.dtype == np.float32
        for one, other in zip(sweep.beams(), (begins, ends), strict=True):
            np.testing.assert_array_equal(one, other)
        other = frame - 1 if frame else 1
        share = delays_of(len(ends)) / (0.1 * (other - frame))
        for sensor, origin in enumerate(pandaset_points.BEAM_ORIGINS):
            here, there = (global2scene(world) @ vehicle2global(world, at) @ [*origin, 1] for at in (frame, other))
            expected = here + share[sensor::2, None] * (there - here)
            np.testing.assert_allclose(begins[sensor::2], expected[:, :3], atol=1e-5)
        points = world.points(world.ego2global(frame) @ world.lidar2ego)
        expected = points[:, :3] @ sweep.lidar2scene[:3, :3].T + sweep.lidar2scene[:3, 3]
        np.testing.assert_allclose(ends, expected, atol=2e-3)


def test_beams_without_velocity_begin_where_the_sensors_were_in_the_middle_of_the_turn(pandaset_drive):
    world, drive = pandaset_drive
    for sweep, frame in zip(drive.sweeps, (0, 2, 3, 5), strict=True):
        begins, ends = dataclasses.replace(sweep, origins_velocity=None).beams()
        middle = (vehicle2global(world, frame) + vehicle2global(world, max(frame - 1, 0))) / 2
        for sensor, origin in enumerate(pandaset_points.BEAM_ORIGINS):
            expected = (global2scene(world) @ middle @ [*origin, 1])[:3]
            np.testing.assert_allclose(begins[sensor::2], np.broadcast_to(expected, begins[sensor::2].shape), atol=1e-5)
        points = world.points(world.ego2global(frame) @ world.lidar2ego)
        expected = points[:, :3] @ sweep.lidar2scene[:3, :3].T + sweep.lidar2scene[:3, 3]
        np.testing.assert_allclose(ends, expected, atol=2e-3)


def test_a_sensor_that_is_not_there_is_refused(pandaset_drive):
    _, drive = pandaset_drive
    sweep = drive.sweeps[1]
    path = Path(sweep.path)
    for number in (2.0, 0.5, np.nan):
        points = np.fromfile(path, np.float32).reshape(-1, 6)
        points[7, 4] = number
        points.tofile(path)
        refused(sweep.beams, path.name, 'column 4', 'its 2 sensors')


@pytest.mark.parametrize('time', [np.nan, np.inf, -1.01, 50.0])
def test_a_time_that_cannot_be_is_refused(pandaset_drive, time):
    _, drive = pandaset_drive
    path = Path(drive.sweeps[1].path)
    points = np.fromfile(path, np.float32).reshape(-1, 6)
    points[7, 5] = time
    points.tofile(path)
    for read in (drive.sweeps[1].beams, drive.sweeps[1].timed_beams):
        refused(read, path.name, f'column 5 of a point is {time:g}, no time', 'convert the data again')
    # A point that is none needs no time.
    points[7, 0] = np.nan
    points.tofile(path)
    assert len(drive.sweeps[1].timed_beams()[2]) == len(points) - 1


def test_a_change_of_what_is_known_about_times_makes_another_lidar_teacher(pandaset_drive):
    _, drive = pandaset_drive
    config = Config({'scene_nerf': {}})
    source = TeacherSource(config, None, LIDAR)
    source_settings = SimpleNamespace(holdout_lidar_frames=(), own_car={})
    changes = ({'time_column': None, 'origins_velocity': None}, {'origins_velocity': None}, {'origins_delay': -0.07})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TeacherSource, 'settings', lambda _: source_settings)
        digests = {source.fingerprint(drive)}
        for change in changes:
            sweeps = (dataclasses.replace(drive.sweeps[0], **change), *drive.sweeps[1:])
            digests.add(source.fingerprint(dataclasses.replace(drive, sweeps=sweeps)))
    assert len(digests) == 1 + len(changes)


# What is refused, and what may be missing.


def refused(function, *words: str) -> None:
    """One line with these words."""
    with pytest.raises(InputError) as caught:
        function()
    assert all(word in str(caught.value) for word in words) and '\n' not in str(caught.value)


def test_an_unknown_scene_is_refused(root):
    refused(lambda: load(root, scene='scene-c'), 'scene scene-c: not in', 'there are scene-a, scene-b')


def on_copy(sweep: DriveSweep, folder: Path, change) -> DriveSweep:
    """The same sweep from a copy of its file, which is changed."""
    copy = folder / Path(sweep.path).name
    copy.write_bytes(change(Path(sweep.path).read_bytes()))
    return dataclasses.replace(sweep, path=str(copy))


def test_damaged_lidar_is_refused(drive, tmp_path):
    cut = on_copy(drive.sweeps[0], tmp_path, lambda content: content[:-3])
    refused(cut.beams, 'pcd.bin', 'are no whole number of points of 5 floats')
    millimeters = on_copy(
        drive.sweeps[0], tmp_path, lambda content: (np.frombuffer(content, np.float32) * 1000).tobytes()
    )
    refused(millimeters.beams, 'pcd.bin', 'give meters')
    refused(dataclasses.replace(cut, path=str(tmp_path / 'none.bin')).beams, 'none.bin')


def test_a_point_that_is_nan_is_left_out(drive, tmp_path):
    def damage(content: bytes) -> bytes:
        points = np.frombuffer(content, np.float32).reshape(-1, 5).copy()
        points[3, 1], points[8, 2] = np.nan, np.inf
        return points.tobytes()

    begins, ends = drive.sweeps[0].beams()
    fewer, rest = on_copy(drive.sweeps[0], tmp_path, damage).beams()
    np.testing.assert_array_equal(rest, np.delete(ends, (3, 8), axis=0))
    assert len(fewer) == len(begins) - 2


def test_a_sweep_of_nothing_but_nan_has_no_beams(drive, tmp_path):
    nothing = on_copy(drive.sweeps[0], tmp_path, lambda content: b'\xff' * len(content))
    begins, ends = nothing.beams()
    assert begins.shape == ends.shape == (0, 3)
    refused(on_copy(drive.sweeps[0], tmp_path, lambda _: b'').beams, 'pcd.bin', 'is empty')


def test_a_drive_without_lidar_has_no_sweeps(root, tmp_path, drive):
    path = changed(root, tmp_path, lambda info: info.update(lidar_points=None, lidar_sweeps=[]))
    without = load(root, path)
    assert without.sweeps == () and len(without.images) == len(drive.images)
    np.testing.assert_allclose(without.images[0].cam2scene, drive.images[0].cam2scene)


def test_a_drive_with_one_camera(root, tmp_path):
    options = {'version': 'v1.0-mini', 'cameras': ['CAM_FRONT'], 'image_sweeps': True}
    path, *_ = nuscenes.convert(root, tmp_path, **options)
    alone = load(root, str(path))
    assert alone.cameras == ('CAM_FRONT',) and len(alone.images) == 3 + 2 * BETWEEN


def test_files_without_images_between_keyframes_and_origins_are_read(root, tmp_path, drive):
    path = changed(root, tmp_path, lambda info: info.pop('image_sweeps'))
    plain = load(root, path)
    assert [image.path for image in plain.images] == [i.path for i in drive.images if i.frame is not None]
    sweep = plain.sweeps[0]
    assert (sweep.origins == 0).all() and sweep.sensor_column is None and sweep.time_column is None
    begins, ends, delays = sweep.timed_beams()
    assert delays.shape == (len(ends),) and not delays.any() and (begins == begins[0]).all()


def test_sweeps_without_a_time_are_refused(root, tmp_path):
    path = changed(root, tmp_path, lambda info: [sweep.pop('timestamp') for sweep in info['lidar_sweeps']])
    refused(lambda: load(root, path), 'LIDAR_TOP', 'has no timestamp')


def test_frames_may_be_missing(root, tmp_path):
    """Of three keyframes the last one is missing, with all between it and the one before."""
    path = changed(root, tmp_path, lambda info: None, count=2)
    part = load(root, path)
    assert part.keyframes == (0, 1) and len(part.images) == 6 * (2 + BETWEEN)
