"""The metric of occupancy on scenes and labels made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import METRICS
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from projects.DistillNeRF.evaluation.occupancy.baselines import guesses
from projects.DistillNeRF.evaluation.occupancy.counts import Counts
from projects.DistillNeRF.evaluation.occupancy.from_scene import predict_grid
from projects.DistillNeRF.evaluation.occupancy.labels import Labels, OccupancyRecord, read_labels
from projects.DistillNeRF.evaluation.occupancy.metric import OccupancyMetric
from projects.DistillNeRF.evaluation.occupancy.voxel_classes import by_features, classify_codes
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.semantics.occ3d import FREE
from tests.helpers.grids import CAR, ROAD, TRUCK, at, block, street, write_labels
from tests.helpers.refusals import assert_refused
from tests.helpers.scenes import numbered_cells, scene_at

# As in test_from_scene.py: one dense cell, and the voxels that have a point in it.
LIDAR2EGO = np.array([[0.0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]])
POINT = torch.tensor([[5.0, 12.0, 1.0]])
LOW, HIGH = (131, 80, 7), (142, 90, 16)


def record(path: Path) -> OccupancyRecord:
    return OccupancyRecord(path, np.linalg.inv(LIDAR2EGO), LIDAR2EGO[None, :3, 3])


def sample(path: Path, scene: Scene | None = None) -> dict:
    return {'token': path.parent.name, 'scene_field': scene or numbered_cells(POINT), 'occupancy': record(path)}


def evaluate(metric: OccupancyMetric, *samples: dict) -> dict[str, float]:
    metric.process(None, list(samples))
    return metric.evaluate(len(samples))


@pytest.fixture
def two(tmp_path) -> list[dict]:
    """A truth that is the prediction, 11 x 10 x 9 voxels, and one that is a voxel ahead and half of it unseen."""
    seen = np.zeros_like(street())
    seen[:137] = 1
    ahead = np.roll(block(LOW, HIGH), 1, 0)
    return [
        sample(write_labels(tmp_path / 'a/labels.npz', block(LOW, HIGH))),
        sample(write_labels(tmp_path / 'b/labels.npz', ahead, mask_camera=seen)),
    ]


def test_voxels_of_all_samples_are_counted_together(two, capsys):
    """The mean of both samples would be (1 + 10 / 12) / 2."""
    figures = evaluate(OccupancyMetric(), *two)
    # Seen in the second are 6 layers of the prediction, 5 of them right.
    assert figures == {
        'occupancy/iou': (11 + 5) / (11 + 6),
        'occupancy/all_voxels/iou': (11 + 10) / (11 + 12),
    }
    said = capsys.readouterr().err
    assert 'note: occupancy of 2 samples: 2 points per axis, occupied from ' in said
    assert 'dilated by 0; classes: none; mask: camera' in said and 'warning' not in said


def test_the_mask_and_the_growth_are_settings(two):
    assert evaluate(OccupancyMetric(mask='lidar'), *two)['occupancy/iou'] == 21 / 23
    assert set(evaluate(OccupancyMetric(mask=None), *two)) == {'occupancy/all_voxels/iou'}
    grown = evaluate(OccupancyMetric(dilation=1), two[0])['occupancy/iou']
    assert grown == 11 * 10 * 9 / (13 * 12 * 10)


def test_a_grid_in_another_frame_loses_what_arithmetic_says(tmp_path):
    """The truth is where the cell is: 11 x 10 x 9 voxels ahead on the right; the LiDAR is 1.8 m above the ego frame.

    Mounted 0.4 m farther ahead or to the left, the prediction is a voxel off. Were the LiDAR's frame taken for the
    ego's, its x would be forward, and it would lie elsewhere.
    """
    truth = write_labels(tmp_path / 'a/labels.npz', block(LOW, HIGH))
    counts = (11, 10, 9)
    for axis in (0, 1):
        mount = LIDAR2EGO.copy()
        mount[axis, 3] += 0.4
        shifted = dataclasses.replace(record(truth), ego2lidar=np.linalg.inv(mount))
        figures = evaluate(OccupancyMetric(), sample(truth) | {'occupancy': shifted})
        assert figures['occupancy/iou'] == pytest.approx((counts[axis] - 1) / (counts[axis] + 1))
    swapped = dataclasses.replace(record(truth), ego2lidar=np.eye(4))
    assert evaluate(OccupancyMetric(), sample(truth) | {'occupancy': swapped})['occupancy/iou'] == 0
    # 1.8 m are 4.5 voxels: of 9 layers 5 remain below the top of the grid, which the cell reaches.
    level = LIDAR2EGO.copy()
    level[2, 3] = 0
    lowered = dataclasses.replace(record(truth), ego2lidar=np.linalg.inv(level))
    height = predict_grid(numbered_cells(POINT), torch.from_numpy(lowered.ego2lidar))
    layers = np.flatnonzero((height != FREE).any((0, 1)))
    both = len(set(layers) & set(range(7, 16)))
    figures = evaluate(OccupancyMetric(), sample(truth) | {'occupancy': lowered})
    assert layers.tolist() == list(range(2, 13)) and figures['occupancy/iou'] == pytest.approx(both / (11 + 9 - both))


def test_classes_are_told_by_codes_and_compared_by_rays(tmp_path):
    """The prediction as truth scores 1 everywhere; with another class, nothing but IoU is left."""
    scene = numbered_cells(POINT)
    grid = predict_grid(scene, torch.from_numpy(np.linalg.inv(LIDAR2EGO)), by_features(classify_codes))
    other = np.where(grid == FREE, FREE, CAR if CAR not in grid else TRUCK).astype(np.uint8)
    metric = OccupancyMetric(semantics='codes', ray_iou=True)
    same = evaluate(metric, sample(write_labels(tmp_path / 'a/labels.npz', grid), scene))
    names = {f'{whole}{name}' for whole in ('', 'all_voxels/') for name in ('iou', 'miou', 'miou_star')}
    rays = {'ray_iou', 'ray_iou_1m', 'ray_iou_2m', 'ray_iou_4m'}
    assert {f'occupancy/{name}' for name in names | rays} <= set(same)
    assert set(same.values()) == {1.0}
    figures = evaluate(metric, sample(write_labels(tmp_path / 'b/labels.npz', other), scene))
    assert {name for name, value in figures.items() if value} == {'occupancy/iou', 'occupancy/all_voxels/iou'}


def test_phrases_of_the_code_book_say_what_its_codes_say(tmp_path):
    """Of cells of any features; classes without phrases are not said."""
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(60, 3, generator=generator) * 2 - 1) * torch.tensor([30.0, 30.0, 3.0])
    features = 50 * torch.randn(60, 4, generator=generator)
    scene = scene_at(points, features, 5.0, levels=(4, 6), out_channels=64)
    grid = predict_grid(scene, torch.from_numpy(np.linalg.inv(LIDAR2EGO)), by_features(classify_codes))
    assert len(np.unique(grid)) > 4
    path = write_labels(tmp_path / 'a/labels.npz', grid)
    settings = {'semantics': 'text', 'text_encoder': 'minitown_code_book'}
    assert set(evaluate(OccupancyMetric(**settings), sample(path, scene)).values()) == {1.0}
    few = OccupancyMetric(**settings, phrases={'car': ['car'], 'driveable_surface': ['road']}, combine='mean')
    figures = evaluate(few, sample(path, scene))
    assert figures['occupancy/iou'] == 1 and figures['occupancy/miou'] < 1
    missing = OccupancyMetric(semantics='text')
    assert_refused(lambda: evaluate(missing, sample(path, scene)), 'set model.text_encoder to one of')


def test_rays_start_where_the_labels_say_or_along_the_drive(tmp_path):
    metric = OccupancyMetric(semantics='codes', ray_iou=True)
    path = write_labels(tmp_path / 'a/labels.npz', block(LOW, HIGH))
    from_drive = metric.count(block(LOW, HIGH), metric.read(record(path)), record(path)).rays
    assert from_drive.truth[CAR] > 0
    write_labels(path, block(LOW, HIGH), origins=at(136, 85, 12)[None])
    within = metric.count(block(LOW, HIGH), metric.read(record(path)), record(path)).rays
    assert within.truth[CAR] == 14040
    assert not OccupancyMetric().count(block(LOW, HIGH), metric.read(record(path)), record(path)).rays.truth.any()


def test_a_sample_without_labels_does_not_count_and_is_told(two, tmp_path, capsys):
    gone = sample(tmp_path / 'c/labels.npz')
    nowhere = {'token': 'd', 'scene_field': None}
    assert evaluate(OccupancyMetric(), gone, *two, nowhere) == evaluate(OccupancyMetric(), *two)
    said = capsys.readouterr().err
    assert f'warning: {tmp_path}/c/labels.npz: no occupancy labels; 2 of 4 samples have none' in said
    assert evaluate(OccupancyMetric(), gone, nowhere) == {}


def test_an_empty_mask_is_told(two, tmp_path, capsys):
    path = write_labels(tmp_path / 'c/labels.npz', street(), mask_camera=np.zeros_like(street()))
    seen = evaluate(OccupancyMetric(), *two, sample(path))['occupancy/iou']
    assert seen == evaluate(OccupancyMetric(), *two)['occupancy/iou']
    assert 'mask_camera of 1 of 3 samples has no voxel' in capsys.readouterr().err


def test_damaged_labels_are_refused(tmp_path):
    path = tmp_path / 'a/labels.npz'
    path.parent.mkdir()
    path.write_bytes(b'x')
    assert_refused(lambda: evaluate(OccupancyMetric(), sample(path)), 'not a readable .npz', start=path)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'semantics': 'words'}, ("semantics is 'words'", 'choose none, codes, text, labels')),
        ({'mask': 'none'}, ("mask is 'none'", 'camera, lidar or None')),
        ({'ray_iou': True}, ('compares classes', "semantics='codes'")),
        ({'lattice': 0}, ('lattice is 0', 'give 1 or more')),
        ({'lattice': 1.5}, ('lattice is 1.5', 'give 1 or more')),
        ({'min_density': 0}, ('min_density is 0', 'above 0')),
        ({'dilation': -1}, ('dilation is -1', 'give 0 or more')),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, words):
    assert_refused(lambda: OccupancyMetric(**settings), *words, start='OccupancyMetric: ')


def test_codes_of_a_network_of_colors_are_refused(two):
    colored = {**two[0], 'scene_field': numbered_cells(POINT, head='color')}
    assert_refused(
        lambda: evaluate(OccupancyMetric(semantics='codes'), colored), 'semantics codes needs', 'or semantics none'
    )


def test_label_maps_that_do_nothing_are_told(two, capsys):
    assert evaluate(OccupancyMetric(), two[0] | {'label_maps': []}) == evaluate(OccupancyMetric(), two[0])
    assert capsys.readouterr().err.count("label_maps do nothing without semantics='labels'") == 1


def test_the_metric_works_in_an_evaluator(two):
    """Data samples come as the model leaves them: the record is what is known of the sample, the scene is data."""
    elements = []
    for one in two:
        element = BaseDataElement(metainfo={'token': one['token'], 'occupancy': one['occupancy']})
        element.scene_field = one['scene_field']
        elements.append(element)
    assert METRICS.module_dict['OccupancyMetric'] is OccupancyMetric
    evaluator = Evaluator([OccupancyMetric()])
    evaluator.process(elements)
    assert evaluator.evaluate(2) == evaluate(OccupancyMetric(), *two)


def score(grid: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    counts = Counts()
    counts.add(grid, Labels(truth, None, None), at(100, 100, 7)[None])
    return counts.figures()


def test_baselines_score_what_arithmetic_says():
    """Of the truth one voxel has a LiDAR point; another point is in free space, a third outside."""
    truth = street()
    points = np.stack([at(125.5, 98.5, 2.5), at(5.5, 100.5, 14.5), at(-5, 0, 0), at(125.2, 98.2, 2.1)])
    grids = guesses(truth, points)
    occupied = int((truth != FREE).sum())
    assert score(grids['oracle'], truth) and set(score(grids['oracle'], truth).values()) == {1.0}
    assert set(score(grids['nothing'], truth).values()) == {0.0}
    assert score(grids['everything'], truth)['all_voxels/iou'] == occupied / truth.size
    assert score(grids['lidar_points'], truth)['all_voxels/iou'] == 1 / (occupied + 1)
    assert set(guesses(truth, None)) == {'nothing', 'everything', 'oracle'}
    assert ROAD in grids['oracle'] and set(np.unique(grids['lidar_points'])) == {0, FREE}


def test_counts_of_parts_are_added(tmp_path):
    truth = read_labels(write_labels(tmp_path / 'labels.npz', street()), 'camera')
    one, other, both = Counts(), Counts(), Counts()
    for counts, grid in ((one, street()), (other, block(LOW, HIGH))):
        counts.add(grid, truth, LIDAR2EGO[None, :3, 3])
        both.add(grid, truth, LIDAR2EGO[None, :3, 3])
    assert (one + other).figures() == both.figures() and len(both.figures()) == 12
    assert set(both.figures(with_classes=False)) == {'iou', 'all_voxels/iou'}
