"""Drives that lack something are trained, exported and reported, and say what they lack; wrong input is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.engine import create_minitown
from projects.DistillNeRF.scene_nerf.dataset import LidarKnowledge
from projects.DistillNeRF.scene_nerf.lacks import find_lacks
from projects.MiniTown import scene
from projects.MiniTown.world import Box
from tests.helpers.boxtown import SMALL, BoxTown
from tests.helpers.commands import Result, run
from tests.helpers.data import ROOT
from tests.helpers.fields import QUICK_STEPS, quick_options
from tests.helpers.oracle import town_drive
from tests.helpers.refusals import assert_refused

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py'
SCENE = 'minitown-0001'
Change = Callable[[dict], Any]


def info_file(town: Path, folder: Path, change: Change, keep: tuple[int, ...] = (0, 1, 2), cameras: Any = None) -> Path:
    """Write the records of a scene, those of some keyframes, each changed."""
    metainfo, infos = load_infos(str(town / 'minitown_infos_train.pkl'))
    infos = [info for info in infos if info['scene'] == SCENE and info['frame'] in keep]
    assert len(infos) == len(keep)
    tokens = [None, *(info['token'] for info in infos), None]
    for number, info in enumerate(infos):
        info['prev'], info['next'] = tokens[number], tokens[number + 2]
        change(info)
    save_infos(folder / 'infos.pkl', 'minitown', cameras or metainfo['cameras'], infos)
    return folder / 'infos.pkl'


def train(work_dir: Path, file: Path, root: Path, **changes: object) -> Result:
    return run('train', ENTRY, '--work-dir', work_dir, '--cfg-options', *quick_options([file], root, **changes))


def said(result: Result) -> list[str]:
    """What is said about the drive."""
    start = f'warning: scene {SCENE}: '
    return [line.removeprefix(start) for line in result.err.splitlines() if line.startswith(start)]


def nothing(info: dict) -> None:
    """Change nothing."""


def no_lidar(info: dict) -> None:
    info.update(lidar_points=None, lidar_sweeps=[])


def own_sweep_alone(info: dict) -> None:
    info['lidar_sweeps'] = []


def keyframes_alone(info: dict) -> None:
    info['image_sweeps'] = {}
    own_sweep_alone(info)


def front_alone(info: dict) -> None:
    for kind in ('images', 'image_sweeps'):
        info[kind] = {camera: images for camera, images in info[kind].items() if camera == 'CAM_FRONT'}


def one_image(info: dict) -> None:
    front_alone(info)
    keyframes_alone(info)


def one_image_without_lidar(info: dict) -> None:
    one_image(info)
    no_lidar(info)


def without_back(info: dict) -> None:
    if info['frame'] == 1:
        for kind in ('images', 'image_sweeps'):
            del info[kind]['CAM_BACK']


FOG = 'cells begin as fog everywhere that a camera looks; depth is less sure'
FRONT = 'one camera, CAM_FRONT: what lies beside its view is unknown'
ONE_SWEEP = '1 LiDAR sweep: what moves cannot be told (3 can), all counts as standing'
ONE_IMAGE = 'one image: nothing is seen from two places, depth where no beam ended is a guess'
# Name -> change, keyframes that stay, cameras, further options, what is said.
DRIVES: dict[str, tuple[Change, tuple[int, ...], list[str] | None, dict[str, object], list[str]]] = {
    'no LiDAR': (no_lidar, (0, 1, 2), None, {}, [f'no LiDAR: {FOG}']),
    'one camera': (front_alone, (0, 1, 2), ['CAM_FRONT'], {}, [FRONT]),
    'a camera is missing': (without_back, (0, 1, 2), None, {}, ['CAM_BACK has no image in 1 of 3 keyframes']),
    'no image of a camera': (front_alone, (0, 1), None, {}, ['no image of CAM_FRONT_LEFT, ', FRONT]),
    'a gap in time': (nothing, (0, 2), None, {}, ['no images of CAM_FRONT_LEFT, ']),
    'keyframes alone': (keyframes_alone, (0, 1), None, {}, ['2 LiDAR sweeps: what moves cannot be told']),
    'one moment': (keyframes_alone, (0,), None, {}, [ONE_SWEEP, 'the cameras move by 0.0 m in all']),
    'one image': (one_image, (0,), ['CAM_FRONT'], {}, [ONE_SWEEP, FRONT, ONE_IMAGE]),
    'one image, no LiDAR': (
        one_image_without_lidar,
        (0,),
        ['CAM_FRONT'],
        {},
        [f'no LiDAR: {FOG}', FRONT, ONE_IMAGE],
    ),
    'LiDAR is kept out': (
        own_sweep_alone,
        (0, 1, 2),
        None,
        {'scene_nerf.holdout_lidar_frames': [0, 1, 2]},
        [f'all LiDAR is kept out: {FOG}'],
    ),
    'no beams': (nothing, (0, 1, 2), None, {'train_dataloader.dataset.num_beams': 0}, []),
}
QUICK = ('no LiDAR', 'one image, no LiDAR', 'a camera is missing')


@pytest.mark.parametrize('name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in DRIVES])
def test_a_drive_that_lacks_something_is_trained_and_says_so(town, tmp_path, name):
    change, keep, cameras, changes, lines = DRIVES[name]
    file = info_file(town, tmp_path, change, keep, cameras)
    result = train(tmp_path / 'work', file, town, **changes)
    assert result.code == 0, result.err
    assert len(said(result)) == len(lines), said(result)
    assert all(line.startswith(start) for line, start in zip(said(result), lines, strict=True)), said(result)
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert all(line in log for line in said(result))
    exported = export(tmp_path, file, town, **changes)
    assert exported.code == 0, exported.err
    report = json.loads((tmp_path / 'out/reports' / SCENE / 'report.json').read_text())
    held_out = ('no images were kept out', 'no LiDAR was kept out')
    assert [lack for lack in report['lacks'] if not lack.startswith(held_out)] == said(result)


def export(folder: Path, file: Path, root: Path, *words: str, **changes: object) -> Result:
    chosen = ('--out', folder / 'out', '--views', '0_0_0', '-1_0_0', *words)
    checkpoint = folder / f'work/iter_{QUICK_STEPS}.pth'
    return run(
        'render_scene_nerf', ENTRY, checkpoint, *chosen, '--cfg-options', *quick_options([file], root, **changes)
    )


@pytest.mark.parametrize('size', [(28, 50), pytest.param((56, 80), marks=pytest.mark.slow)])
def test_images_of_other_sizes_and_points_that_are_nan(town, tmp_path, size):
    """One camera has other images; shifted views can be exported if they have the shape of the others'."""
    root = shutil.copytree(town, tmp_path / 'town')
    height, width = size

    def other_size(info: dict) -> None:
        for image in (info['images']['CAM_BACK'], *info['image_sweeps'].get('CAM_BACK', [])):
            path = str(root / image['img_path'])
            cv2.imwrite(path, cv2.resize(cv2.imread(path), (width, height)))
            scale = np.diag([width / image['width'], height / image['height'], 1.0])
            image.update(cam2img=scale @ image['cam2img'], height=height, width=width)

    sweep = next((root / 'samples/LIDAR_TOP').glob(f'{SCENE}*'))
    points = np.fromfile(sweep, np.float32)
    points[0], points[7] = np.nan, np.inf
    points.tofile(sweep)
    file = info_file(town, tmp_path, other_size)
    result = train(tmp_path / 'work', file, root)
    assert result.code == 0, result.err
    assert len(said(result)) == 1
    assert said(result)[0].startswith('2 of ') and said(result)[0].endswith(f' as in {sweep}: left out')
    shifted = export(tmp_path, file, root, '--no-report')
    if size == (28, 50):
        assert shifted.code == 0, shifted.err
        return
    # The cure that is named works.
    assert_refused(shifted, 'the image is 80x56', 'other cameras have others; give --views 0_0_0 alone')
    cured = export(tmp_path, file, root, '--no-report', '--views', '0_0_0')
    assert cured.code == 0, cured.err


def test_a_whole_drive_lacks_nothing(town):
    drive = town_drive(town)
    assert find_lacks(drive) == [] and find_lacks(drive, [1], [1]) == []
    without = replace(drive, sweeps=tuple(sweep for sweep in drive.sweeps if sweep.frame != 1))
    assert find_lacks(without, [], [0, 1]) == ['keyframes without LiDAR that could be kept out: 1']


def test_settings_that_cannot_be_right_are_refused(town, tmp_path):
    file = info_file(town, tmp_path, nothing)
    for name, value, *words in (
        ('model.cell_size', 0, 'is 0; give a number above 0'),
        ('model.cell_size', 1e-6, 'give larger cells'),
        ('model.divisions', -1, 'is -1; give a whole number from 0 on'),
        ('model.levels', 0, 'from 1 on'),
        ('load_from', 'x.pth', 'give --resume instead'),
        ('model.step', 0, 'above 0'),
        ('model.near', -1, 'from 0 on'),
        ('model.needed', 'a', "is 'a'"),
        ('model.reach', [8, -1, 4], 'is -1'),
        ('model.reach', [8, 4], 'sideways, below and above'),
        ('model.beam_weight', -0.1, 'is -0.1; give a number from 0 on'),
        ('model.exposure_weight', -1, 'from 0 on'),
        ('model.correct_poses', 2, 'give True or False'),
        ('custom_hooks.2.divide', [-0.5], 'divide of DivideCells'),
        ('custom_hooks.2.divide', 0.3, 'divide of DivideCells is 0.3; give a list of shares'),
        ('custom_hooks.2.drop', [0.3, 0.5], 'both have 0.3'),
        ('custom_hooks.3.at', [0.5, -1], 'at of CorrectPoses', 'from 0 on'),
        ('custom_hooks.3.at', 0.5, 'at of CorrectPoses', 'list shares'),
        ('train_dataloader.dataset.num_rays', 0, 'from 1 on'),
        ('train_dataloader.dataset.num_beams', -1, 'from 0 on'),
        ('train_dataloader.batch_size', 2, 'give 1'),
        ('train_cfg.max_iters', 0, 'from 1 on'),
        ('scene_nerf.holdout_frames', [0, 7], 'keyframe 7', 'are 0 to 2'),
        ('scene_nerf.holdout_lidar_frames', [9], 'keyframe 9', 'are 0 to 2'),
        ('scene_nerf.holdout_frame', [1], 'nothing reads', 'holdout_frames'),
    ):
        result = train(tmp_path / 'work', file, town, **{name: value})
        key = '' if 'custom_hooks' in name else name
        assert_refused(result, key, *words)
        assert not list((tmp_path / 'work').glob('*.pth'))


def test_nothing_to_train_on_is_refused(town, tmp_path):
    file = info_file(town, tmp_path, keyframes_alone)
    out = {'scene_nerf.holdout_frames': [0, 1, 2]}
    assert_refused(train(tmp_path / 'work', file, town, **out), 'all its images are kept out; keep fewer frames out')


def test_damaged_files_are_refused(town, tmp_path):
    root = shutil.copytree(town, tmp_path / 'town')
    file = info_file(town, tmp_path, nothing)
    image = next((root / 'samples/CAM_BACK').glob(f'{SCENE}*'))
    sweep = next((root / 'samples/LIDAR_TOP').glob(f'{SCENE}*'))
    for path, keep, *words in (
        (image, None, 'no such file; restore the image'),
        (image, 200, 'cut short; restore the image'),
        (sweep, None, 'no such file; restore the LiDAR file'),
        (sweep, 77, 'no whole number of points'),
        (sweep, 0, 'is empty; restore the LiDAR file'),
    ):
        content = path.read_bytes()
        if keep is None:
            path.unlink()
        else:
            path.write_bytes(content[:keep])
        assert_refused(train(tmp_path / 'work', file, root), *words, start=path)
        path.write_bytes(content)


@pytest.mark.parametrize('key', ['cam2global', 'cam2img', 'lidar2global'])
def test_records_without_poses_are_refused(town, tmp_path, key):
    file = info_file(town, tmp_path, nothing)
    content = pickle.loads(file.read_bytes())
    for info in content['data_list']:
        del (info if key == 'lidar2global' else info['images']['CAM_BACK'])[key]
    file.write_bytes(pickle.dumps(content))
    assert_refused(train(tmp_path / 'work', file, town), f'lacks {key}; convert the data again', start=file)


class StillTown(BoxTown):
    """Nothing but the car drives.

    The car on the left is left out: beams go straight along its back and its flat roof, which looks like free space.
    """

    def boxes(self, time: float) -> list[Box]:
        """Return what stands there at any time."""
        return [box for box in super().boxes(0.0) if box.token != 'left']


def test_a_drive_in_which_nothing_moves(monkeypatch, tmp_path):
    monkeypatch.setattr(scene, 'Town', StillTown)
    town = tmp_path / 'town'
    create_minitown.convert(town, town, **SMALL)
    file = info_file(town, tmp_path, nothing)
    data = town_drive(town)
    assert len(data.sweeps) == 11 and LidarKnowledge.of(data).things == ()
    result = train(tmp_path / 'work', file, town)
    assert result.code == 0, result.err
    assert said(result) == [] and 'metainfo' not in result.out + result.err
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert 'metainfo' not in log and log.count('0 moving things with 0 cells') == 3
    exported = export(tmp_path, file, town)
    assert exported.code == 0, exported.err
    report = json.loads((tmp_path / 'out/reports' / SCENE / 'report.json').read_text())
    assert all(lack.startswith(('no images were kept out', 'no LiDAR was kept out')) for lack in report['lacks'])
    options = quick_options([file], town, **{'train_cfg.max_iters': QUICK_STEPS + 2})
    again = run('train', ENTRY, '--work-dir', tmp_path / 'work', '--resume', '--cfg-options', *options)
    assert again.code == 0 and 'metainfo' not in again.out + again.err, again.err
