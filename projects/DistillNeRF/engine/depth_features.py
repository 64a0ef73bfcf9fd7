"""Write the frozen-depth features of the input images of a config (:mod:`..pipelines.depth_features`)."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor
from tqdm import tqdm

from ..apis import to_device
from ..configuration.config import building
from ..configuration.options import DATASET, DEPTH_TRANSFORM, all_datasets, frozen_depth
from ..datasets.cache import SUFFIX
from ..datasets.dataset import DistillNeRFDataset
from ..models.frozen_depth import FrozenDepth
from ..pipelines.depth_features import LoadDepthFeatures
from ..pipelines.images import LoadViews
from ..utils.errors import InputError
from ..utils.files import require_writable
from .create_cache import NOT_CACHED

# Samples whose files are written while the next ones are computed.
WAITING = 2
# Options that concern target views alone, which have no such features.
OF_TARGETS = {
    **dict.fromkeys((*NOT_CACHED, 'load_lidar', 'virtual_img_target_smart_sample', 'resize_teacher'), False),
    **dict.fromkeys(('gts', 'label_maps'), None),
}
# Views whose files are missing or stale, with their sample, their images (N, 3, H, W), and the number of all its views.
Loaded = tuple[list[Mapping[str, Any]], Mapping[str, Any], Tensor | None, int]


def write_depth_features(config: Config, device: str) -> list[str]:
    """Write the features of all input images of the training, validation and test data that are missing or stale.

    What is current stays, so that an interrupted run goes on where it stopped. On a CPU the features have the bits that
    the network computes in a training in float32 on the same machine.

    Args:
        config: as loaded, with ``depth_cache``.
        device: where the network runs.

    Returns:
        a line about every folder.

    Raises:
        InputError: no such device, no ``depth_cache``, missing weights or images, or too little room on the disk.
    """
    chosen, read = _chosen(config), frozen_depth(config)
    assert read is not None  # else the config would have been refused
    weights, channels = read
    place = to_device(torch.empty(0), device).device
    frozen = FrozenDepth(weights, channels)
    lines = []
    for given in chosen:
        init_default_scope('mmdet3d')
        with building(config):
            dataset = DATASETS.build(given)
        load, cache = dataset.pipeline.transforms
        _check_room(dataset, cache, channels)
        samples = tqdm(_ahead(dataset, load, cache), total=len(dataset), desc='depth features', unit='sample')
        written, images = _write(samples, cache, frozen, place)
        lines.append(f'{cache.folder}: wrote {written} of {images} files for {dataset.ann_file}')
    return lines


def _chosen(config: Config) -> list[dict]:
    """List the configs of the datasets that read features, each once, with nothing but what input images need."""
    chosen: list[dict] = []
    for _, dataset in all_datasets(config):
        reading = [one for one in dataset.get('pipeline') or () if one.get('type') == DEPTH_TRANSFORM]
        if dataset.get('type') == DATASET and reading:
            part = {**dataset, **OF_TARGETS, 'pipeline': [{'type': 'LoadViews'}, dict(reading[0])]}
            if part not in chosen:
                chosen.append(part)
    if not chosen:
        raise InputError(
            f'{config.filename}: says nowhere where frozen-depth features are kept; add --cfg-options depth_cache=DIR'
        )
    return chosen


def _check_room(dataset: DistillNeRFDataset, cache: LoadDepthFeatures, channels: int) -> None:
    """Check that the folder can be written to and that all files that may be missing fit on its disk."""
    folder = require_writable(cache.folder)
    height, width = dataset.image_size
    there = sum(1 for _ in folder.glob(f'depth_features_{height}x{width}/**/*{SUFFIX}'))
    missing = max(0, len(dataset.input_keyframes) * len(dataset.cameras) - there)
    needed, free = missing * channels * height * width * 4, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f'{folder}: frozen-depth features of {missing} images need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB '
            'are free; make room, choose another folder with depth_cache, or fewer samples with indices of the datasets'
        )


def _ahead(dataset: DistillNeRFDataset, load: LoadViews, cache: LoadDepthFeatures) -> Iterator[Loaded]:
    """Load the images of all samples that have no current files, each sample while the one before is computed."""

    # The past of a sample is mostly a sample, too, and then has its features from there.
    samples = {dataset.get_token(index) for index in range(len(dataset))}

    def read(index: int) -> Loaded:
        results = dataset.get_data_info(index)
        views = {key: results['views'][key] for key in results['input_keys']}
        past = results.get('past_views', {})
        views |= {key: view for key, view in past.items() if view['token'] not in samples}
        missing = {key: view for key, view in views.items() if not cache.is_current(view, results)}
        if not missing:
            return [], results, None, len(views)
        load.transform({**results, 'views': missing})
        images = torch.from_numpy(np.stack([view['image'] for view in missing.values()]))
        return list(missing.values()), results, images, len(views)

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, 0)
        for index in range(len(dataset)):
            current = ahead.result()
            if index + 1 < len(dataset):
                ahead = pool.submit(read, index + 1)
            yield current


def _write(
    samples: Iterable[Loaded], cache: LoadDepthFeatures, frozen: FrozenDepth, device: torch.device
) -> tuple[int, int]:
    """Write what is missing, while the next is computed; return how many files were written, and how many there are."""

    def save(views: Sequence[Mapping[str, Any]], results: Mapping[str, Any], features: np.ndarray) -> int:
        return sum(
            cache.update(view, results, lambda made=made: made) for view, made in zip(views, features, strict=True)
        )

    waiting: deque[Future[int]] = deque()
    written = count = 0
    with ThreadPoolExecutor(1) as pool:
        for views, results, images, number in samples:
            count += number
            if images is not None:
                features = frozen(images.to(device)).float().cpu().numpy()
                waiting.append(pool.submit(save, views, results, features))
            while len(waiting) > WAITING:
                written += waiting.popleft().result()
        written += sum(one.result() for one in waiting)
    return written, count
