"""Check before a run that every loss and metric has data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from ..datasets.availability import LIDAR, OCCUPANCY, OTHER_FRAMES
from ..datasets.dataset import DistillNeRFDataset, own_datasets
from ..evaluation.metrics import DepthMetric
from ..evaluation.occupancy.metric import OccupancyMetric
from ..losses.subjects import subject_of
from ..utils.errors import InputError, warn

TEACHER, FEATURES = 'teacher depth', 'features'
DEPTHS = (LIDAR, TEACHER, 'truth depth')
# Subject of a loss (:mod:`..losses.subjects`) -> what it compares with.
LOSS_NEEDS = {
    'lidar_depth': LIDAR,
    'lidar_depth_edges': LIDAR,
    'lidar_bins': LIDAR,
    'line_of_sight': LIDAR,
    'teacher_depth': TEACHER,
    'teacher_depth_edges': TEACHER,
    'teacher_bins': TEACHER,
    'density': TEACHER,
    'lidar_density': LIDAR,
    'features': FEATURES,
}


def count_loaded(datasets: Iterable[DistillNeRFDataset], kind: str) -> int | None:
    """Return how many samples or files of a kind the datasets have together; ``None`` if none of them loads it."""
    counts = [dataset.availability[kind].there for dataset in datasets if kind in dataset.availability]
    return sum(counts) if counts else None


def check_losses(losses: Mapping[str, nn.Module], dataset: Dataset) -> None:
    """Check that every loss with a weight has something to compare with in the training data.

    Raises:
        InputError: names the loss, the info file and the hint.
    """
    ours = own_datasets(dataset)
    for name, loss in losses.items():
        need = LOSS_NEEDS.get(subject_of(name, loss))
        if need is None or not getattr(loss, 'loss_weight', 1):
            continue
        if need == FEATURES and count_loaded(ours, FEATURES) is None and _has(ours, 'LidarCodeBookFeatures'):
            need = LIDAR
        if count_loaded(ours, need) == 0:
            raise InputError(
                f'{_files(ours)}: the loss {name} is asked for, but no sample has {need}; set model.losses.{name}=None '
                f'in the config, or give the training data {need}'
            )


def check_metrics(metrics: Iterable[Any], dataset: Dataset, evaluator: str, loader: str) -> None:
    """Check that metrics of depth and occupancy have something to compare with.

    Args:
        metrics: of the evaluator.
        dataset: that they are computed on.
        evaluator, loader: keys of the evaluator and of the dataset's loader in the config, for messages.

    Raises:
        InputError: names the info file and the hint.
    """
    ours, metrics = own_datasets(dataset), list(metrics)
    if ours and any(isinstance(metric, DepthMetric) for metric in metrics) and not _any_depth(ours):
        raise InputError(
            f'{_files(ours)}: {evaluator} asks for DepthMetric, but no sample has LiDAR, teacher depth or true depth; '
            f'leave DepthMetric out of {evaluator}, or give these data one of them'
        )
    if ours and any(isinstance(metric, OccupancyMetric) for metric in metrics) and (gap := _no_labels(ours, loader)):
        raise InputError(f'{_files(ours)}: {evaluator} asks for OccupancyMetric, but {gap}')


def possible_evaluations(names: Iterable[str], dataset: Dataset, explicit: bool, coded: bool = True) -> list[str]:
    """Return the evaluations that the test data allows.

    Args:
        names: of evaluations (:data:`.evaluate.EVALUATIONS`).
        dataset: the test data.
        explicit: each of them was asked for by name; if not, one without data is left out with a warning; without one
            where the data names no labels of occupancy, loads no features, or has nothing to compare queries with.
        coded: teacher features may be the vectors of words; where not, queries need true classes.

    Raises:
        InputError: one that was asked for has no data.
    """
    ours = own_datasets(dataset)
    if not explicit:
        unasked = {'occupancy'} if count_loaded(ours, OCCUPANCY) is None else set()
        unasked |= set() if _loads_features(ours) else {'feature'}
        unasked |= set() if _has_classes(ours) or (coded and _loads_features(ours)) else {'query'}
        names = [name for name in names if name not in unasked]
    possible = []
    for name in names:
        problem = _problem(name, ours, coded) if ours else None
        if problem is None:
            possible.append(name)
        elif explicit:
            raise InputError(f'{_files(ours)}: --eval {name} is asked for, but {problem}')
        else:
            warn(f'{_files(ours)}: no evaluation {name}: {problem}')
    return possible


def _problem(evaluation: str, datasets: list[DistillNeRFDataset], coded: bool) -> str | None:
    """Return why the data does not allow an evaluation, with the hint; ``None`` if it does."""
    if evaluation == 'depth' and not any(dataset.may_score_depth() for dataset in datasets):
        return 'no depth is known of the frames that it scores (of those between keyframes never); evaluate novel_view'
    if evaluation == 'depth' and not _any_depth(datasets):
        return 'no test sample has LiDAR, teacher depth or true depth; evaluate psnr, or give the test data one of them'
    if evaluation == 'novel_view':
        count = count_loaded(datasets, OTHER_FRAMES)
        if count is None:
            return 'the test data has no other views; set test_dataloader.dataset.add_next_frame_for_eval=True'
        if count == 0:
            return 'no test sample has a next frame; choose others with test_samples, or convert longer scenes'
    if evaluation == 'occupancy':
        return _no_labels(datasets, 'test_dataloader')
    if evaluation == 'query' and _has_classes(datasets):
        return None
    if evaluation == 'query' and not coded:
        return (
            'the test data has no true classes to compare with; those of MiniTown are read by load_truth=True and '
            'LoadTruth(with_classes=True) in its pipeline'
        )
    if evaluation in ('feature', 'query'):
        if not _loads_features(datasets):
            return (
                'the test data loads no features; set test_dataloader.dataset.load_features=True, with LoadFeatures in '
                'its pipeline'
            )
        if count_loaded(datasets, FEATURES) == 0:
            return f'no test sample has features; correct test_dataloader.dataset.data_prefix.{FEATURES}'
    return None


def _loads_features(datasets: Sequence[DistillNeRFDataset]) -> bool:
    if count_loaded(datasets, FEATURES) is not None:
        return True
    return any(_has(datasets, transform) for transform in ('CodeBookFeatures', 'LidarCodeBookFeatures'))


def _has_classes(datasets: Sequence[DistillNeRFDataset]) -> bool:
    """Return whether any dataset loads true classes."""
    transforms = [one for dataset in datasets if 'truth' in dataset.loaded_maps for one in dataset.pipeline.transforms]
    return any(type(one).__name__ == 'CodeBookFeatures' or getattr(one, 'with_classes', False) for one in transforms)


def _no_labels(datasets: Iterable[DistillNeRFDataset], loader: str) -> str | None:
    """Return why there are no labels of occupancy, with the hint; ``None`` if there are some."""
    count = count_loaded(datasets, OCCUPANCY)
    if count is None:
        return f'its data names no labels; set {loader}.dataset.gts to the folder of SCENE/TOKEN/labels.npz'
    if count == 0:
        folders = ', '.join(dict.fromkeys(dataset.gts for dataset in datasets if dataset.gts is not None))
        return f'no sample has SCENE/TOKEN/labels.npz in {folders}; correct {loader}.dataset.gts, or set it to None'
    return None


def _any_depth(datasets: Iterable[DistillNeRFDataset]) -> bool:
    scored = [dataset for dataset in datasets if dataset.may_score_depth()]
    return any(count_loaded(scored, name) for name in DEPTHS)


def warn_of_shared_samples(training: Dataset, validation: Dataset) -> None:
    """Warn of samples that are both trained and validated on."""
    trained, validated = (
        {token for part in own_datasets(dataset) for token in _tokens(part)} for dataset in (training, validation)
    )
    if shared := trained & validated:
        warn(
            f'{len(shared)} of {len(validated)} validation samples are training samples, too (such as '
            f'{min(shared)}): their figures say nothing about other scenes'
        )


def _tokens(dataset: DistillNeRFDataset) -> Iterator[str]:
    return (dataset.get_token(index) for index in range(len(dataset)))


def _has(datasets: Iterable[DistillNeRFDataset], transform: str) -> bool:
    return any(type(one).__name__ == transform for dataset in datasets for one in dataset.pipeline.transforms)


def _files(datasets: Iterable[DistillNeRFDataset]) -> str:
    return ', '.join(dict.fromkeys(str(dataset.ann_file) for dataset in datasets))
