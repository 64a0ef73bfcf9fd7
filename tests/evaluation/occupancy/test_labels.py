"""Label files and predictions: read, refused in one line, matched."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.evaluation.occupancy.confusion import ConfusionMatrix
from projects.DistillNeRF.evaluation.occupancy.labels import match_frames, read_labels, read_prediction
from projects.DistillNeRF.evaluation.occupancy.ray_iou import RayCounts
from projects.DistillNeRF.semantics.classes import OCC3D_CLASSES
from projects.DistillNeRF.semantics.occ3d import FREE, LOWER, SHAPE, UPPER, VOXEL
from tests.helpers.files import truncate
from tests.helpers.grids import CAR, street, write_labels, write_prediction
from tests.helpers.refusals import assert_refused


def test_the_grid_is_that_of_occ3d():
    assert FREE == 17 and len(OCC3D_CLASSES) == 18
    assert np.allclose(LOWER + VOXEL * np.array(SHAPE), UPPER)


def test_labels_are_read_as_written(tmp_path):
    camera = np.zeros(SHAPE, np.uint8)
    camera[:, :100] = 1
    path = write_labels(tmp_path / 'labels.npz', street(), mask_camera=camera)
    labels = read_labels(path, 'camera')
    assert np.array_equal(labels.semantics, street()) and labels.semantics.dtype == np.uint8
    assert np.array_equal(labels.mask, camera) and labels.mask.dtype == bool
    assert read_labels(path, 'lidar').mask.all() and read_labels(path).mask is None and labels.origins is None


def test_origins_are_read_where_there_are_some(tmp_path):
    places = np.array([[1, 0, 2], [5, 0, 2]], np.float32)
    path = write_labels(tmp_path / 'labels.npz', street(), origins=places)
    assert np.array_equal(read_labels(path).origins, places)


def test_predictions_of_other_integers_are_read(tmp_path):
    path = write_prediction(tmp_path / 'a.npz', street().astype(np.int64))
    prediction = read_prediction(path)
    assert np.array_equal(prediction, street()) and prediction.dtype == np.uint8


@pytest.mark.parametrize(
    ('grid', 'words'),
    [
        (street().astype(np.float32), ('float32', 'save them as uint8')),
        (street() < FREE, ('bool', 'save them as uint8')),
        (street().transpose(2, 1, 0), ('(16, 200, 200)', '(200, 200, 16) along x, y, z')),
        (street().ravel(), ('(640000,)',)),
        (np.where(street() == CAR, 18, street()), ('a class 18', '17 is free')),
        (np.where(street() == CAR, 255, street()), ('a class 255',)),
        (np.where(street() == CAR, -1, street().astype(np.int8)), ('a class -1',)),
    ],
)
def test_other_grids_are_refused(tmp_path, grid, words):
    path = write_prediction(tmp_path / 'a.npz', grid)
    assert_refused(lambda: read_prediction(path), *words, start=path)


def test_files_that_are_none_are_refused(tmp_path):
    path = tmp_path / 'a.npz'
    hint = 'numpy.savez_compressed(FILE, semantics=GRID)'
    assert_refused(lambda: read_prediction(path), 'no such file', hint, start=path)
    path.touch()
    assert_refused(lambda: read_prediction(path), 'empty', hint, start=path)
    truncate(write_prediction(path, street()))
    assert_refused(lambda: read_prediction(path), 'not a readable .npz file', hint, start=path)
    path.write_text('semantics')
    assert_refused(lambda: read_prediction(path), 'not a readable .npz file', hint, start=path)
    with path.open('wb') as file:
        np.save(file, street())
    assert_refused(lambda: read_prediction(path), 'not a readable .npz file', hint, start=path)
    np.savez(path, semantics=np.array([{}], object))
    assert_refused(lambda: read_prediction(path), 'not a readable .npz file', hint, start=path)
    np.savez(path, pred=street())
    assert_refused(lambda: read_prediction(path), 'has no semantics, only pred', hint, start=path)


@pytest.mark.parametrize('damage', ['middle', 'member'])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    """Its list of members is at the end, and whole."""
    path = write_prediction(tmp_path / 'a.npz', street())
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if damage == 'middle' else 0
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    assert_refused(lambda: read_prediction(path), 'not a readable .npz file', start=path)


@pytest.mark.parametrize(
    ('arrays', 'words'),
    [
        ({'mask_camera': np.ones((200, 200), np.uint8)}, ('mask_camera', '(200, 200)')),
        ({'mask_camera': np.full(SHAPE, 2, np.uint8)}, ('mask_camera', 'zeros and ones')),
        ({'mask_camera': np.ones(SHAPE)}, ('mask_camera', 'float64')),
        ({'origins': np.zeros(3)}, ('origins', '(3,)')),
        ({'origins': np.zeros((0, 3))}, ('origins', '(0, 3)')),
        ({'origins': np.full((1, 3), np.nan)}, ('origins', 'finite')),
    ],
)
def test_other_masks_and_origins_are_refused(tmp_path, arrays, words):
    path = write_labels(tmp_path / 'labels.npz', street(), **arrays)
    assert_refused(lambda: read_labels(path, 'camera'), *words, start=path)


def test_labels_without_the_mask_are_refused_if_it_is_asked_for(tmp_path):
    path = write_prediction(tmp_path / 'labels.npz', street())
    assert_refused(lambda: read_labels(path, 'lidar'), 'has no mask_lidar', '--mask none', start=path)
    assert read_labels(path).mask is None


def test_frames_are_matched_by_scene_and_token(tmp_path):
    """Only names are looked at."""
    gts, predictions = tmp_path / 'gts', tmp_path / 'predictions'
    for name in ('scene-1/a', 'scene-1/b', 'scene-2/a'):
        (gts / name).mkdir(parents=True)
        (gts / name / 'labels.npz').touch()
    for name in ('scene-1/b.npz', 'scene-2/a/labels.npz', 'scene-2/c.npz'):
        (predictions / name).parent.mkdir(parents=True, exist_ok=True)
        (predictions / name).touch()
    matches = match_frames(gts, predictions)
    assert [(frame.scene, frame.token) for frame in matches.frames] == [('scene-1', 'b'), ('scene-2', 'a')]
    assert matches.frames[1].labels == gts / 'scene-2/a/labels.npz'
    assert [frame.prediction.name for frame in matches.frames] == ['b.npz', 'labels.npz']
    assert matches.missing == ['scene-1/a'] and matches.others == [predictions / 'scene-2/c.npz']


def test_folders_that_do_not_fit_are_refused(tmp_path):
    gts, predictions = tmp_path / 'gts', tmp_path / 'predictions'
    assert_refused(lambda: match_frames(gts, predictions), 'no such folder', start=gts)
    gts.mkdir()
    assert_refused(lambda: match_frames(gts, predictions), 'no such folder', start=predictions)
    predictions.mkdir()
    assert_refused(lambda: match_frames(gts, predictions), 'SCENE/TOKEN/labels.npz', start=gts)
    (gts / 'scene-1/a').mkdir(parents=True)
    (gts / 'scene-1/a/labels.npz').touch()
    first = predictions / 'scene-1/a.npz'
    assert_refused(lambda: match_frames(gts, predictions), 'no such file', 'of the 1 frames', start=first)
    (predictions / 'scene-1/a').mkdir(parents=True)
    for path in (first, predictions / 'scene-1/a/labels.npz'):
        path.touch()
    assert_refused(lambda: match_frames(gts, predictions), 'the same frame', start=first)


def test_a_real_frame(shared_dir):
    """Counts of Occ3D; a frame against itself is exactly right."""
    path = shared_dir / 'data/occ3d_frame/labels.npz'
    labels = read_labels(path, 'camera')
    assert np.bincount(labels.semantics.ravel())[[0, CAR, 11, FREE]].tolist() == [169, 1749, 8433, 600908]
    assert labels.mask.mean() == pytest.approx(0.0677, abs=5e-5) and labels.origins is None
    voxels, rays = ConfusionMatrix(), RayCounts()
    voxels.add(read_prediction(path), labels.semantics, labels.mask)
    rays.add(read_prediction(path), labels.semantics, np.array([[0.985793, 0.0, 1.84019]]))
    assert set(voxels.scores().values()) == set(rays.scores().values()) == {1.0}
