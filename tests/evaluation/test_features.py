"""PSNR of rendered features and IoU of queries, against slow versions and by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.evaluation.feature_metrics import FeatureMetric, QueryMetric
from projects.DistillNeRF.evaluation.features import (
    ClassCounts,
    MeanFeature,
    classes_by_name,
    count_classes,
    feature_psnr,
    true_classes,
)
from projects.DistillNeRF.evaluation.intervals import draw_scenes
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.semantics.classes import CLASS_ID, CLASSES, code_book
from projects.DistillNeRF.semantics.text_encoders import Queries
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.cameras import unit_cameras
from tests.helpers.views import make_views

NAMES, FRAMES = ('A', 'B', 'A'), (0, 0, 1)
CODES = torch.from_numpy(code_book())
ENCODER = 'minitown_code_book'


def views_of(features: torch.Tensor | None, names=NAMES, frames=FRAMES) -> Views:
    return make_views(unit_cameras(len(names), 6, 8), 0.5, names, frames, features=features)


def sample(rendered: torch.Tensor | None, features: torch.Tensor | None, **changes) -> dict:
    inputs = views_of(None, ('A', 'B'), (0, 0))
    return {'features': rendered, 'input_views': inputs, 'target_views': views_of(features), **changes}


def measure(metric, *samples: dict) -> dict[str, float]:
    metric.process(None, list(samples))
    return metric.evaluate(len(samples))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_feature_psnr_is_over_all_channels_and_pixels_of_a_group():
    target, rendered = random(3, 5, 3, 4), random(3, 5, 3, 4, seed=1)
    figures = measure(FeatureMetric(), sample(rendered, target))
    expected = {}
    for name, chosen in (('feature/psnr', [0, 1]), ('feature/next/psnr', [2])):
        total = sum((rendered[v] - target[v]).square().sum().item() for v in chosen)
        expected[name] = -10 * math.log10(total / (len(chosen) * 5 * 3 * 4))
    assert figures == pytest.approx(expected, abs=1e-4)


def test_feature_psnr_of_the_published_code(shared_dir):
    """The published metric has channels last."""
    with np.load(shared_dir / 'parity/public/unit.npz') as unit:
        rendered, target = (
            torch.from_numpy(unit[f'metric/{name}'][0]).permute(0, 3, 1, 2)
            for name in ('ff_recon_first_16', 'ff_gt_seeded_first_16')
        )
        published = unit['metric/ff_psnr_ssim'][0]
    mask = torch.ones(len(rendered), *rendered.shape[-2:], dtype=torch.bool)
    assert feature_psnr(rendered, target, mask) == pytest.approx(published, abs=1e-5)


def test_larger_teacher_features_are_resized_as_for_the_loss():
    target, rendered = random(3, 2, 6, 8), random(3, 2, 3, 4, seed=1)
    small = F.interpolate(target, size=(3, 4), mode='bilinear', align_corners=False)
    assert measure(FeatureMetric(), sample(rendered, target)) == measure(FeatureMetric(), sample(rendered, small))


def test_unknown_pixels_do_not_count_and_views_without_features_are_told(capsys):
    target, rendered = random(3, 5, 3, 4), random(3, 5, 3, 4, seed=1)
    partly = target.clone()
    partly[0, 2, 1:] = math.nan
    partly[2] = math.nan
    figures = measure(FeatureMetric(), sample(rendered, partly, token='a'))
    known = torch.cat([(rendered - target)[0, :, :1].flatten(), (rendered - target)[1].flatten()])
    assert figures == {'feature/psnr': pytest.approx(-10 * math.log10(known.square().mean().item()), abs=1e-4)}
    assert 'not every figure is of all 1 samples: 1 with no teacher features' in capsys.readouterr().err
    # The stand-in for missing files has one pixel and one channel.
    gone = torch.full((3, 1, 1, 1), math.nan)
    assert measure(FeatureMetric(), sample(rendered, gone)) == measure(FeatureMetric(), sample(rendered, None)) == {}


def test_nan_in_rendered_features_does_not_count(capsys):
    target, rendered = random(3, 5, 3, 4), random(3, 5, 3, 4, seed=1)
    broken = rendered.clone()
    broken[2, 0, 0, 0] = math.nan
    both = measure(FeatureMetric(), sample(rendered, target, token='a'), sample(broken, target, token='b'))
    alone = measure(FeatureMetric(), sample(rendered, target))
    assert both == pytest.approx(alone)
    assert '1 with NaN in the rendered features (such as b)' in capsys.readouterr().err


def test_other_channels_and_networks_of_colors_are_refused():
    with pytest.raises(InputError, match='have 4 channels, the network renders 5'):
        measure(FeatureMetric(), sample(random(3, 5, 3, 4), random(3, 4, 3, 4)))
    with pytest.raises(InputError, match='renders no features'):
        measure(FeatureMetric(), sample(None, random(3, 4, 3, 4)))


def test_parts_of_feature_psnr():
    target, rendered = random(3, 5, 3, 4), random(3, 5, 3, 4, seed=1)
    moving = torch.zeros(3, 6, 8)
    moving[0, :2] = 1
    moving[1] = math.nan
    data = sample(rendered, target)
    data['target_views'] = dataclasses.replace(data['target_views'], moving=moving)
    figures = measure(FeatureMetric(by=('camera', 'motion')), data)

    def decibels(*differences: torch.Tensor) -> float:
        joined = torch.cat([difference.flatten() for difference in differences])
        return pytest.approx(-10 * math.log10(joined.square().mean().item()), abs=1e-4)

    difference = rendered - target
    assert figures['feature/psnr@camera=B'] == decibels(difference[1])
    assert figures['feature/psnr@motion=moving'] == decibels(difference[0, :, :1])
    assert figures['feature/psnr@motion=static'] == decibels(difference[0, :, 1:])
    assert figures['feature/next/psnr@motion=static'] == decibels(difference[2])
    assert 'feature/next/psnr@motion=moving' not in figures


def test_the_mean_feature_is_that_of_known_pixels_and_measured_as_the_model():
    first, second = random(3, 2, 6, 8), random(3, 2, 6, 8, seed=1)
    first[0, 1, :3] = math.nan
    mean = MeanFeature()
    training = [views_of(first), views_of(second), views_of(None)]
    assert list(mean.watch(training)) == training
    rows = torch.cat([part.movedim(1, -1).reshape(-1, 2) for part in (first, second)])
    torch.testing.assert_close(mean.value, rows[rows.isfinite().all(1)].mean(0))
    test = random(3, 2, 6, 8, seed=2)
    found = mean.figures([(views_of(None, ('A', 'B'), (0, 0)), views_of(test))], (3, 4))
    guess = mean.value[:, None, None].expand(3, 2, 3, 4)
    expected = measure(FeatureMetric(), sample(guess, test))
    assert found == pytest.approx({f'mean_feature/{name}': value for name, value in expected.items()})
    assert MeanFeature().value is None and MeanFeature().figures([], (3, 4)) == {}


def coded(classes: torch.Tensor) -> torch.Tensor:
    """The codes ``(V, 64, h, w)`` of classes."""
    return CODES[classes].movedim(-1, 1)


def test_counts_of_pixels_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(len(CLASSES), (2, 3, 5), generator=generator)
    rendered = coded(torch.randint(len(CLASSES), (2, 3, 5), generator=generator)) * 3 + 0.05 * random(2, 64, 3, 5)
    truth[0, 0, 0] = -1
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for v, row, column in np.ndindex(2, 3, 5):
        feature = rendered[v, :, row, column]
        cosines = [torch.dot(feature, code) / (feature.norm() * code.norm()) for code in CODES]
        if truth[v, row, column] >= 0:
            counts[truth[v, row, column], int(np.argmax(cosines))] += 1
    np.testing.assert_array_equal(count_classes(rendered, truth, Queries(CODES)), counts)
    assert counts.sum() == 29


def test_true_classes_are_those_of_codes_alone():
    classes = torch.arange(12).reshape(1, 3, 4)
    features = coded(classes).clone()
    features[0, :, 0, 0] = math.nan
    features[0, :, 0, 1] = (CODES[1] + CODES[2]) / 2
    expected = classes.clone()
    expected[0, 0, :2] = -1
    assert torch.equal(true_classes(features, CODES), expected)


def test_iou_of_queries_by_hand():
    """Eight of twelve pixels are road, and two of them look like a car; four are sky, and all are found."""
    road, car, sky = (CLASS_ID[name] for name in ('road', 'car', 'sky'))
    truth = torch.full((3, 3, 4), road)
    truth[:, 0] = sky
    found = truth.clone()
    found[:, 1, :2] = car
    found[2] = truth[2]
    figures = measure(QueryMetric(ENCODER), sample(2 * coded(found), coded(truth)))
    assert figures == {
        'query/miou': pytest.approx((1 + 12 / 16 + 0) / 3),
        'query/iou/sky': 1,
        'query/iou/road': 12 / 16,
        'query/iou/car': 0,
        'query/next/miou': 1,
        'query/next/iou/sky': 1,
        'query/next/iou/road': 1,
    }


def test_pixels_are_counted_over_the_data_set():
    """One sample has 24 pixels of cars, all found, the other one, missed: not the mean of 1 and 0."""
    car, road = CLASS_ID['car'], CLASS_ID['road']
    one = torch.full((3, 3, 4), car)
    other = torch.full((3, 3, 4), road)
    other[0, 0, 0] = car
    samples = sample(coded(one), coded(one)), sample(coded(torch.full_like(other, road)), coded(other))
    figures = measure(QueryMetric(ENCODER), *samples)
    assert figures['query/iou/car'] == 24 / 25
    assert figures['query/iou/road'] == 23 / 24


def random_counts(seed: int, groups=('', 'next')) -> ClassCounts:
    rng = np.random.default_rng(seed)
    count = len(CLASSES)
    return ClassCounts({group: rng.integers(0, 9, (count, count)) * (rng.random((count, 1)) < 0.5) for group in groups})


def test_iou_of_drawn_scenes_is_that_of_their_pixels():
    scenes = [[random_counts(0), random_counts(1)], [random_counts(2, ('',))], [random_counts(3), ClassCounts()]]
    metric, weights = QueryMetric(ENCODER), draw_scenes(3)[:20]
    found = metric.resampled(scenes, weights)
    assert {'miou', 'next/miou', 'iou/car', 'next/iou/car'} <= set(found)
    for draw, times in enumerate(weights):
        drawn = [one for scene, often in zip(scenes, times, strict=True) for one in scene * often]
        figures = metric.merge(drawn)
        assert all(found[name][draw] == pytest.approx(value) for name, value in figures.items())
        assert {name for name, values in found.items() if not np.isnan(values[draw])} == set(figures)


def test_queries_need_an_encoder_and_features_that_are_those_of_words(capsys):
    classes = torch.zeros(3, 3, 4, dtype=torch.int64)
    with pytest.raises(InputError, match='text encoder'):
        measure(QueryMetric(), sample(coded(classes), coded(classes)))
    with pytest.raises(InputError, match='vectors of 64 numbers, but this network renders 5'):
        measure(QueryMetric(ENCODER), sample(random(3, 5, 3, 4), random(3, 5, 3, 4)))
    others = random(3, 64, 3, 4)
    assert measure(QueryMetric(ENCODER), sample(others, others, token='t')) == {}
    assert '1 with teacher features that are those of no word (such as t)' in capsys.readouterr().err


def test_queries_have_figures_of_scenes():
    road = torch.full((3, 3, 4), CLASS_ID['road'])
    good, bad = coded(road), coded(torch.full_like(road, CLASS_ID['sky']))
    samples = [sample(good, good, scene='one'), sample(bad, good, scene='two')]
    figures = measure(QueryMetric(ENCODER, by=['scene']), *samples)
    assert figures['query/iou/road'] == 0.5
    assert figures['query/iou/road@scene=one'] == 1 and figures['query/iou/road@scene=two'] == 0
    assert 'query/iou/sky@scene=one' not in figures


def with_classes(data: dict, classes: torch.Tensor) -> dict:
    """A sample whose target views have true classes."""
    return {**data, 'target_views': dataclasses.replace(data['target_views'], true_classes=classes.float())}


def test_true_classes_are_the_truth_whatever_the_teacher_features_are():
    """Noisy ones, of another size or missing; unknown pixels do not count."""
    road, car = CLASS_ID['road'], CLASS_ID['car']
    truth = torch.full((3, 3, 4), road)
    truth[0, 0] = car
    found = truth.clone()
    found[0, 0, 0] = road
    expected = {'query/miou': pytest.approx((3 / 4 + 20 / 21) / 2), 'query/iou/car': 3 / 4, 'query/iou/road': 20 / 21}
    expected |= {'query/next/miou': 1, 'query/next/iou/road': 1}
    for teacher in (None, random(3, 64, 2, 2), coded(truth) + 0.3 * random(3, 64, 3, 4)):
        assert measure(QueryMetric(ENCODER), with_classes(sample(coded(found), teacher), truth)) == expected
    partly = truth.float()
    partly[0, 0, 0] = math.nan
    assert measure(QueryMetric(ENCODER), with_classes(sample(coded(found), None), partly))['query/miou'] == 1


def test_true_classes_of_another_size_show_what_is_at_the_middle_of_a_pixel():
    truth = torch.arange(4)[None, None].expand(3, 2, 4)
    views = with_classes(sample(None, None), truth)['target_views']
    names = CLASSES[1:]
    np.testing.assert_array_equal(classes_by_name(views, names, (2, 4))[0], [[-1, 0, 1, 2]] * 2)
    np.testing.assert_array_equal(classes_by_name(views, names, (4, 8))[0, 3], [-1, -1, 0, 0, 1, 1, 2, 2])
    assert classes_by_name(views_of(None), names, (2, 4)) is None
    unknown = dataclasses.replace(views, true_classes=torch.full((3, 1, 1), math.nan))
    assert classes_by_name(unknown, names, (2, 4)) is None


def test_several_phrases_of_a_class_find_it():
    """Whose own words are those of the code book; pixels of classes without phrases do not count."""
    bus, truck, car = (CLASS_ID[name] for name in ('bus', 'truck', 'car'))
    truth = torch.full((3, 3, 4), car)
    truth[:, 0], truth[:, 1] = bus, CLASS_ID['sky']
    found = truth.clone()
    found[:, 0, :2] = truck
    words = {'bus': ['bus', 'truck'], 'car': ['car']}
    figures = measure(QueryMetric(ENCODER, words), with_classes(sample(coded(found), None), truth))
    assert figures['query/iou/bus'] == figures['query/iou/car'] == 1 and 'query/iou/sky' not in figures
    # The same without class maps, by the codes of the teacher.
    assert measure(QueryMetric(ENCODER, words), sample(coded(found), coded(found))) == figures
    assert measure(QueryMetric(ENCODER, ['bus', 'car', 'truck']), with_classes(sample(coded(found), None), truth))[
        'query/iou/bus'
    ] == pytest.approx(1 / 2)


def test_words_that_no_true_class_has_are_told(capsys):
    sky = torch.full((3, 3, 4), CLASS_ID['sky'])
    assert measure(QueryMetric(ENCODER, ['car']), with_classes(sample(coded(sky), None, token='t'), sky)) == {}
    assert '1 with true classes that have no words (such as t)' in capsys.readouterr().err


@pytest.mark.parametrize('words', [[], {}, 'car', [3], {'car': 'car'}, {'car': []}, {'car': [' ']}])
def test_words_of_the_metric_that_are_none(words):
    with pytest.raises(InputError, match='words is no list'):
        QueryMetric(ENCODER, words)
    with pytest.raises(InputError, match="combine is 'sum'; choose best or mean"):
        QueryMetric(ENCODER, combine='sum')
