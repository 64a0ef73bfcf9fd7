"""Make the cache of the data of a config: resized images and LiDAR depth images (:mod:`..datasets.cache`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from tqdm import tqdm

from ..configuration.config import building
from ..configuration.options import DATASET, LOADERS, datasets
from ..datasets.cache import DEFAULT_FOLDER, caching_transforms
from ..datasets.dataset import DistillNeRFDataset
from ..utils.errors import InputError
from ..utils.files import require_writable
from ..utils.processes import process_pool

NOT_CACHED = ('load_teacher', 'load_truth', 'load_features', 'load_boxes')


def create_cache(config: Config, workers: int = 1, made: Sequence[Path] = (), roots: dict | None = None) -> list[str]:
    """Write what is missing or stale in the caches of the training, validation and test data.

    A dataset without the option ``cache`` gets one in the folder ``cache`` of its ``data_root``. What is current stays,
    so that an interrupted run goes on where it stopped.

    Args:
        config: as loaded.
        workers: processes.
        made: info files that were just converted; then only the datasets of these names count, and their folder is
            the ``data_root``. Empty: all datasets, where the config says.
        roots: entries of ``data_prefix`` for those.

    Returns:
        a line about every cache.

    Raises:
        InputError: what a dataset finds wrong with its files, a folder that cannot be written, or no dataset is left.
    """
    if workers < 1:
        raise InputError(f'--workers is {workers}; give 1 or more')
    lines = []
    for given, folder in _chosen(config, made, roots or {}):
        dataset = _build(config, given)
        dataset.cache = str(require_writable(folder))
        written = sum(tqdm(_written(dataset, workers), total=len(dataset.keyframes), desc='cache', unit='keyframe'))
        what = f'{len(dataset.keyframes)} keyframes of {dataset.ann_file}'
        lines.append(f'{dataset.cache}: wrote {written} files for {what}')
    return lines


def _chosen(config: Config, made: Sequence[Path], roots: dict) -> list[tuple[dict, Path]]:
    """List the configs of the datasets, each once, and the folders of their caches."""
    chosen: list[tuple[dict, Path]] = []
    found = [dict(given) for loader in LOADERS for _, given in datasets(loader, config.get(loader))]
    for given in found:
        if given.get('type') != DATASET:
            continue
        if made:
            place = {path.name: path.parent for path in made}.get(Path(given['ann_file']).name)
            if place is None:
                continue
            given |= {'data_root': str(place), 'data_prefix': {**given.get('data_prefix', {}), **roots}}
        folder = given.pop('cache', None) or DEFAULT_FOLDER
        root = Path(given.get('data_root') or '').expanduser()
        # Maps and boxes are not cached; they may not be there yet.
        part = given | dict.fromkeys(NOT_CACHED, False), root / Path(folder).expanduser()
        if part not in chosen:
            chosen.append(part)
    if not chosen:
        names = f' with the ann_file {" or ".join(path.name for path in made)}' if made else ''
        raise InputError(f'{config.filename}: has no {DATASET}{names}; give the config of a training on these data')
    return chosen


def _build(config: Config, given: dict) -> DistillNeRFDataset:
    # As a runner does first.
    init_default_scope('mmdet3d')
    with building(config):
        return DATASETS.build(given)


def _written(dataset: DistillNeRFDataset, workers: int) -> Iterator[int]:
    """Make the cache of a dataset; yield the number of files that were written for each keyframe."""
    if workers == 1:
        yield from (_write_keyframe(dataset, position) for position in dataset.keyframes)
        return
    with process_pool(workers, _begin, dataset) as pool:
        yield from pool.map(_write_next, dataset.keyframes, chunksize=4)


def _write_keyframe(dataset: DistillNeRFDataset, position: int) -> int:
    results = dataset.whole_keyframe(position)
    return sum(one.write_cache(results) for one in caching_transforms(dataset.pipeline.transforms))


# The dataset of a worker process.
_WORKING: dict[int, DistillNeRFDataset] = {}


def _begin(dataset: DistillNeRFDataset) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _WORKING[os.getpid()] = dataset


def _write_next(position: int) -> int:
    return _write_keyframe(_WORKING[os.getpid()], position)
