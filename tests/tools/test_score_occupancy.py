"""tools/score_occupancy.py on folders made by hand: figures, what it says of gaps, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.evaluation.occupancy.ray_iou import drive_origins
from projects.DistillNeRF.semantics.occ3d import FREE, SHAPE
from tests.helpers.commands import run
from tests.helpers.files import truncate
from tests.helpers.grids import CAR, ROAD, block, empty, street, write_labels, write_prediction
from tests.helpers.refusals import assert_refused


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Labels of three frames of two scenes, and predictions of all but the last, which are right."""
    gts, predictions = tmp_path / 'gts', tmp_path / 'predictions'
    for scene, token in (('scene-1', 'a'), ('scene-1', 'b'), ('scene-2', 'c')):
        write_labels(gts / scene / token / 'labels.npz', street())
        if token != 'c':
            write_prediction(predictions / scene / f'{token}.npz', street())
    return gts, predictions


def read(path: Path) -> dict:
    """Read JSON, which has no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f'{name} is no JSON')

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_perfect_prediction_scores_one_and_gaps_are_told(folders, tmp_path):
    out = tmp_path / 'out/results.json'
    result = run('score_occupancy', *folders, '--ray-iou', '--out', out)
    assert result.code == 0, result.err
    assert 'scene-2/c and 0 more of 3 frames have no prediction' in result.err
    assert 'frames: 2' in result.out and 'mask: camera' in result.out
    assert 'one LiDAR place at (0.985793, 0, 1.84019) m' in result.out
    assert 'RayIoU (mean of 1, 2, 4 m): 100.00 %' in result.out
    rows = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line}
    assert rows['car'] == ['100.00'] * 4 and not rows['bus']
    found = read(out)
    assert found['protocol']['frames_without_prediction'] == 1 and found['protocol']['voxels'] == 2 * np.prod(SHAPE)
    for name in ('miou', 'miou_star', 'foreground_miou', 'iou', 'ray_iou', 'ray_iou_1m', 'ray_iou_2m', 'ray_iou_4m'):
        assert found[name] == 1.0
    assert found['classes']['car'] == 1.0 and found['classes']['bus'] is None and 'bus' in found['absent']
    assert np.sum(found['confusion']) == found['protocol']['voxels']


def test_figures_are_those_of_all_frames_together(folders, tmp_path):
    """The car is 240 voxels: all of one frame, none of the other, 60 wrong ones."""
    _, predictions = folders
    grid = np.where(street() == CAR, FREE, street()).astype(np.uint8)
    grid[0:5, 0:4, 0:3] = CAR
    write_prediction(predictions / 'scene-1/b.npz', grid)
    cars = int((street() == CAR).sum())
    for workers in (1, 2):
        out = tmp_path / f'{workers}.json'
        assert run('score_occupancy', *folders, '--workers', workers, '--out', out).code == 0
        found = read(out)
        assert found['classes']['car'] == cars / (2 * cars + 60) and found['classes']['driveable_surface'] == 1
        assert 'ray_iou' not in found


def test_only_the_chosen_mask_counts(folders, tmp_path):
    gts, predictions = folders
    near = np.zeros(SHAPE, np.uint8)
    near[100:] = 1
    for token in 'ab':
        write_labels(gts / 'scene-1' / token / 'labels.npz', street(), mask_lidar=near)
        grid = street()
        grid[:100] = FREE
        write_prediction(predictions / 'scene-1' / f'{token}.npz', grid)
    found = {}
    for mask in ('camera', 'lidar', 'none'):
        out = tmp_path / f'{mask}.json'
        assert run('score_occupancy', *folders, '--mask', mask, '--out', out).code == 0
        found[mask] = read(out)
    assert found['lidar']['iou'] == 1 and found['lidar']['protocol']['voxels'] == near.sum() * 2
    assert found['camera']['iou'] == found['none']['iou'] < 0.6
    assert found['lidar']['protocol']['mask'] == 'lidar' and found['none']['protocol']['mask'] == 'none'


def test_rays_start_where_the_label_file_or_the_option_says(tmp_path):
    """The grid is right ahead of x = 0 and wrong behind."""
    gts, predictions = tmp_path / 'gts', tmp_path / 'predictions'
    truth = block((60, 0, 0), (61, 200, 16), ROAD) + block((140, 0, 0), (141, 200, 16), CAR) - FREE
    write_prediction(predictions / 's/a.npz', block((140, 0, 0), (141, 200, 16)))
    labels = gts / 's/a/labels.npz'
    found = []
    for origins, option in ((None, 30), (None, -30), ([[30, 0, 1.8]], -30), ([[30, 0, 1.8], [-30, 0, 1.8]], -30)):
        write_labels(labels, truth, **({} if origins is None else {'origins': np.array(origins)}))
        out = tmp_path / 'results.json'
        result = run('score_occupancy', gts, predictions, '--ray-iou', '--origin', option, 0, 1.8, '--out', out)
        assert result.code == 0, result.err
        assert (f'at ({option}, 0, 1.8) m' if origins is None else 'label files (1 of 1 frames)') in result.out
        scores = read(out)
        assert scores['protocol']['origins'] == len(origins or [0])
        found.append((scores['ray_classes']['RayIoU 1 m']['car'], scores['ray_iou']))
    # Wherever they start, rays see the wall of their own side; the other one is hidden behind it, or missed.
    assert found[0][0] == 1 and found[0] == found[2]
    assert found[1] != found[0] and found[3] not in found[:2]


def test_rays_start_along_the_drive_of_an_info_file(project, tmp_path):
    gts, predictions = tmp_path / 'gts', tmp_path / 'predictions'
    infos = load_infos(project.root / 'infos.pkl')[1]
    for info in infos:
        write_labels(gts / info['scene'] / info['token'] / 'labels.npz', street())
        write_prediction(predictions / info['scene'] / f'{info["token"]}.npz', street())
    out = tmp_path / 'results.json'
    options = ('--ray-iou', '--infos', project.root / 'infos.pkl', '--out', out)
    assert run('score_occupancy', gts, predictions, *options).code == 0
    found = read(out)
    lidar2global, ego2global = (np.array([info[name] for info in infos]) for name in ('lidar2global', 'ego2global'))
    assert found['protocol']['origins'] == sum(len(drive_origins(lidar2global, pose)) for pose in ego2global)
    assert found['protocol']['origins'] > len(infos) and 'infos.pkl' in found['protocol']['origin']
    write_labels(gts / 's/other/labels.npz', street())
    write_prediction(predictions / 's/other.npz', street())
    assert_refused(run('score_occupancy', gts, predictions, *options), 'infos.pkl', 'no sample other in it')


def test_bad_files_are_refused_and_nothing_is_written(folders, tmp_path):
    gts, predictions = folders
    out = tmp_path / 'results.json'
    for path in (predictions / 'scene-1/b.npz', gts / 'scene-1/a/labels.npz'):
        truncate(path)
        for workers in (1, 2):
            refused = run('score_occupancy', *folders, '--out', out, '--workers', workers)
            assert_refused(refused, 'not a readable .npz file', start=path)
    assert not out.exists()


def test_what_cannot_be_scored_is_refused(folders, tmp_path):
    gts, _ = folders
    assert_refused(run('score_occupancy', gts, tmp_path / 'no'), 'no such folder', start=tmp_path / 'no')
    assert_refused(run('score_occupancy', gts, tmp_path), 'of the 3 frames', start=tmp_path)
    assert_refused(run('score_occupancy', *folders, '--workers', 0), '--workers is 0')
    assert_refused(run('score_occupancy', *folders, '--origin', 0, 0, 0), '--origin would do nothing without --ray-iou')
    assert_refused(run('score_occupancy', *folders, '--ray-iou', '--origin', 0, 'nan', 0), '--origin is 0.0 nan 0.0')
    together = ('--ray-iou', '--origin', 0, 0, 0, '--infos', 'infos.pkl')
    assert_refused(run('score_occupancy', *folders, *together), '--infos', '--origin would do nothing')
    for token in 'ab':
        write_labels(gts / 'scene-1' / token / 'labels.npz', empty())
    assert_refused(run('score_occupancy', *folders, '--ray-iou'), 'no ray from one LiDAR place', '--origin')


def test_empty_masks_are_told_and_only_empty_masks_are_refused(folders):
    gts, _ = folders
    unseen = np.zeros(SHAPE, np.uint8)
    write_labels(gts / 'scene-1/a/labels.npz', street(), mask_camera=unseen)
    result = run('score_occupancy', *folders)
    assert result.code == 0 and 'mask_camera of 1 of 2 frames has no voxel' in result.err
    write_labels(gts / 'scene-1/b/labels.npz', street(), mask_camera=unseen)
    assert_refused(
        run('score_occupancy', *folders), 'mask_camera of all 2 frames has no voxel', '--mask none', start=gts
    )


def test_pictures_are_drawn_of_some_frames(folders, tmp_path):
    """Of three frames two are predicted; one that is asked for is the first."""
    pictures = tmp_path / 'pictures'
    result = run('score_occupancy', *folders, '--pictures', pictures, '--pictured-frames', 1)
    assert result.code == 0, result.err
    assert sorted(path.name for path in pictures.iterdir()) == ['scene-1_a.html', 'scene-1_a.png']
    assert f'wrote {pictures}/scene-1_a.png' in result.out
    assert run('score_occupancy', *folders, '--pictures', pictures, '--mask', 'none').code == 0
    assert len(list(pictures.iterdir())) == 4
    title = (pictures / 'scene-1_b.html').read_text()
    assert 'scene-1 b   IoU 100.0 %, mIoU 100.0 %, mask: none' in title
    with Image.open(pictures / 'scene-1_a.png') as image:
        assert image.mode == 'RGB' and image.width > 1200
    refused = run('score_occupancy', *folders, '--pictures', pictures, '--pictured-frames', 0)
    assert_refused(refused, 'give 1 or more', start='--pictured-frames')
    assert_refused(run('score_occupancy', *folders, '--pictured-frames', 2), 'would do nothing without --pictures')
