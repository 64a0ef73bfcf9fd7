"""Voxel scores of grids made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from projects.DistillNeRF.evaluation.occupancy.confusion import STARRED, THINGS, ConfusionMatrix
from projects.DistillNeRF.semantics.classes import OCC3D_CLASSES
from projects.DistillNeRF.semantics.occ3d import FREE, SHAPE
from tests.helpers.grids import CAR, ROAD, TRUCK, block, empty, street

OTHERS, OTHER_FLAT = OCC3D_CLASSES.index('others'), OCC3D_CLASSES.index('other_flat')


def compare(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> ConfusionMatrix:
    matrix = ConfusionMatrix()
    matrix.add(prediction, truth, mask)
    return matrix


def row(*classes: int) -> np.ndarray:
    return np.array(classes, np.uint8)


def test_the_classes_of_each_mean():
    assert len(STARRED) == 15 and OTHERS not in STARRED and OTHER_FLAT not in STARRED
    assert [OCC3D_CLASSES[number] for number in (THINGS[0], THINGS[-1])] == ['barrier', 'truck']
    assert len(THINGS) == 10


def test_all_scores_by_hand():
    """Cars: 2 of 4 in the union. Road: 1 of 3. Others: 1 of 1. Trucks are only predicted. Occupied: 5 of 7."""
    truth = row(CAR, CAR, CAR, ROAD, ROAD, OTHERS, FREE, FREE)
    prediction = row(CAR, CAR, TRUCK, ROAD, FREE, OTHERS, CAR, FREE)
    matrix = compare(prediction, truth)
    assert matrix.counts.sum() == 8 and matrix.counts[CAR, TRUCK] == 1 and matrix.counts[FREE, CAR] == 1
    ious = matrix.ious()
    assert (ious[CAR], ious[ROAD], ious[OTHERS], ious[TRUCK]) == (2 / 4, 1 / 2, 1, 0)
    assert matrix.scores() == pytest.approx(
        {
            'miou': (1 / 2 + 1 / 2 + 1 + 0) / 4,
            'miou_star': (1 / 2 + 1 / 2 + 0) / 3,
            'foreground_miou': (1 / 2 + 0) / 2,
            'iou': 5 / 7,
        }
    )
    assert len(matrix.absent()) == 13 and 'bus' in matrix.absent() and 'truck' not in matrix.absent()


def test_a_perfect_prediction_is_exactly_one():
    scores = compare(street(), street()).scores()
    assert set(scores.values()) == {1.0}


def test_nothing_and_everything_occupied():
    truth = street()
    assert set(compare(empty(), truth).scores().values()) == {0.0}
    everything = np.full(SHAPE, CAR, np.uint8)
    matrix = compare(everything, truth)
    assert matrix.scores()['iou'] == (truth != FREE).sum() / truth.size
    assert matrix.ious()[CAR] == (truth == CAR).sum() / truth.size and matrix.ious()[ROAD] == 0


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_shift_by_one_voxel_costs_what_arithmetic_says(axis):
    """Of a cube of 5 voxels 4 layers remain, 6 are in the union."""
    truth = block((90, 90, 5), (95, 95, 10))
    assert compare(np.roll(truth, 1, axis), truth).scores()['miou'] == 4 / 6


@pytest.mark.parametrize('axis', [0, 1])
def test_a_mirrored_grid_costs_what_arithmetic_says(axis):
    """Voxels 95 to 109 become 90 to 104: 10 layers of both, 20 in the union."""
    low, high = [95, 95, 0], [105, 105, 4]
    high[axis] = 110
    truth = block(tuple(low), tuple(high))
    assert compare(np.flip(truth, axis), truth).scores()['iou'] == 10 / 20
    assert compare(np.flip(street(), 1), street()).scores()['miou'] < 0.5


def test_only_the_mask_counts():
    truth, prediction = row(CAR, CAR, ROAD, FREE), row(CAR, FREE, FREE, CAR)
    mask = np.array([True, False, True, False])
    matrix = compare(prediction, truth, mask)
    assert matrix.counts.sum() == 2
    assert matrix.scores()['miou'] == 1 / 2 and matrix.scores()['iou'] == 1 / 2


def test_an_empty_mask_is_nan_and_all_classes_are_absent():
    matrix = compare(street(), street(), np.zeros(SHAPE, bool))
    assert all(math.isnan(value) for value in matrix.scores().values())
    assert matrix.absent() == list(OCC3D_CLASSES[:FREE])


def test_free_everywhere_has_no_scores():
    """Rightly predicted emptiness is neither 0 nor 1."""
    assert all(math.isnan(value) for value in compare(empty(), empty()).scores().values())


def test_counts_are_those_of_a_loop_over_pairs():
    generator = np.random.default_rng(0)
    truth, prediction = generator.choice([FREE, FREE, FREE, *range(FREE)], (2, 30, 20, 4)).astype(np.uint8)
    for mask in (None, generator.random(truth.shape) < 0.4):
        chosen = np.ones(truth.shape, bool) if mask is None else mask
        expected = np.zeros((18, 18), np.int64)
        np.add.at(expected, (truth[chosen], prediction[chosen]), 1)
        assert np.array_equal(compare(prediction, truth, mask).counts, expected)
        # In another order in memory.
        assert np.array_equal(compare(np.asfortranarray(prediction), truth, mask).counts, expected)


def test_parts_of_a_data_set_are_added_and_not_averaged():
    """IoU 1/2 and 1/4 alone, (1 + 1) / (2 + 4) together."""
    parts = [(row(CAR, CAR), row(CAR, FREE)), (row(CAR, CAR, CAR, CAR), row(CAR, FREE, FREE, FREE))]
    one, other = (compare(prediction, truth) for prediction, truth in parts)
    assert [one.scores()['iou'], other.scores()['iou']] == [1 / 2, 1 / 4]
    merged, at_once = one + other, ConfusionMatrix()
    for prediction, truth in parts:
        at_once.add(prediction, truth)
    assert np.array_equal(merged.counts, at_once.counts)
    assert merged.scores()['miou'] == 2 / 6
    assert one.counts.sum() == 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='different shapes'):
        compare(row(CAR), row(CAR, CAR))
    with pytest.raises(ValueError, match='different shapes'):
        compare(row(CAR), row(CAR), np.ones(2, bool))
    with pytest.raises(ValueError, match='0 to 17'):
        compare(row(18), row(CAR))
    with pytest.raises(ValueError, match='0 to 17'):
        compare(row(FREE), row(200))
