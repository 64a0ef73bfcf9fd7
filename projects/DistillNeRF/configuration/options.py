"""Settings that are one key of a config and change several places of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..utils.errors import InputError
from .layers import Layer, value_of

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
DATASET = 'DistillNeRFDataset'
DEPTH_TRANSFORM = 'LoadDepthFeatures'


def datasets(path: str, loader: Any) -> Iterator[tuple[str, dict]]:
    """Yield the datasets of a loader with their dotted keys; of mmengine's wrappers, the datasets within."""
    found = [(f'{path}.dataset', loader.get('dataset'))] if isinstance(loader, Mapping) else []
    for place, dataset in found:
        if not isinstance(dataset, Mapping):
            continue
        if 'dataset' in dataset:
            found.append((f'{place}.dataset', dataset['dataset']))
        elif 'datasets' in dataset:
            found += [(f'{place}.datasets.{number}', part) for number, part in enumerate(dataset['datasets'])]
        else:
            yield place, dataset


def all_datasets(config: Config) -> Iterator[tuple[str, dict]]:
    """Yield the datasets of all loaders that a config has, with their dotted keys."""
    for loader in LOADERS:
        yield from datasets(loader, config.get(loader))


def move_data(config: Config, layer: Layer) -> None:
    """Let ``data_root=DIR`` be the folder of all data.

    A dataset that is given a folder of its own in the same file, or in one over it, keeps that.

    Raises:
        InputError: all of them are, so that the setting does nothing.
    """
    root = config.get('data_root')
    if root is None:
        return
    place = layer.origin('data_root')
    moved = 0
    for path, dataset in all_datasets(config):
        if place.inherits(layer.origin(f'{path}.data_root')) and (
            'data_root' in dataset or dataset.get('type') == DATASET
        ):
            dataset['data_root'] = root
            moved += 1
    if not moved and 'data_root' not in place.reads:
        raise InputError(
            f'{config.filename}: data_root={root} moves no data: every dataset is given a data_root; '
            'leave one of the two'
        )


def use_cache(config: Config, layer: Layer) -> None:
    """Let ``cache=DIR`` be the cache of all datasets; one that is given a cache in the same file or over it keeps that.

    Raises:
        InputError: it is no name of a folder.
    """
    folder = config.get('cache')
    if folder is None:
        return
    if not isinstance(folder, str) or not folder:
        raise InputError(f'{config.filename}: cache is {folder!r}; give the name of a folder, such as cache')
    place = layer.origin('cache')
    for path, dataset in all_datasets(config):
        if dataset.get('type') == DATASET and ('cache' not in dataset or place.inherits(layer.origin(f'{path}.cache'))):
            dataset['cache'] = folder


def frozen_depth(config: Config) -> tuple[str, int] | None:
    """Return weights and channels of the frozen-depth features that the network reads; ``None`` if it does not."""
    weights, coarse = value_of(config, 'model.network.depth_weights'), value_of(config, 'model.network.coarse')
    channels = (coarse or {}).get('depth_channels', 128)  # as the coarse depth net has it
    return None if weights is None or channels is None else (str(weights), channels)


def use_depth_cache(config: Config) -> None:
    """Let ``depth_cache=DIR`` be where all datasets read the frozen-depth features of the network's weights.

    Their pipelines get the transform that does it before ``PackViews``. One that has it already, as the configuration
    that a run leaves behind, keeps it, if folder and weights are the same.

    Raises:
        InputError: it is no name of a folder, the network reads no such features, a pipeline has another folder, or
            features of other weights than the network's.
    """
    folder, read = config.get('depth_cache'), frozen_depth(config)
    if folder is not None and (not isinstance(folder, str) or not folder):
        raise InputError(f'{config.filename}: depth_cache is {folder!r}; give the name of a folder')
    if folder is not None and read is None:
        raise InputError(
            f'{config.filename}: depth_cache={folder} does nothing, as the network reads no frozen-depth features '
            '(model.network.depth_weights, model.network.coarse.depth_channels); leave it away'
        )
    weights = None if read is None else read[0]
    for path, dataset in all_datasets(config):
        pipeline = dataset.get('pipeline')
        if dataset.get('type') != DATASET or not isinstance(pipeline, list):
            continue
        given = [one for one in pipeline if isinstance(one, Mapping) and one.get('type') == DEPTH_TRANSFORM]
        root = Path(dataset.get('data_root') or '').expanduser()
        place = None if folder is None else str(root / Path(folder).expanduser())
        if place is not None and not given:
            given = [{'type': DEPTH_TRANSFORM, 'folder': place, 'weights': weights}]
            kinds = [one.get('type') if isinstance(one, Mapping) else None for one in pipeline]
            packing = kinds.index('PackViews') if 'PackViews' in kinds else len(kinds)
            dataset['pipeline'] = [*pipeline[:packing], *given, *pipeline[packing:]]
        for one in given:
            for name, value in (('folder', place or one.get('folder')), ('weights', weights)):
                if one.get(name) != value:
                    raise InputError(
                        f'{config.filename}: {DEPTH_TRANSFORM} of {path}.pipeline has {name}={one.get(name)}, and '
                        f'{"depth_cache" if name == "folder" else "model.network.depth_weights"} says {value}; '
                        'correct one of them'
                    )


def spread_num_camera(config: Config, layer: Layer) -> None:
    """Let ``model.num_camera=N`` keep N cameras in all datasets.

    Raises:
        InputError: a dataset is given another number in the same file, or in one over it.
    """
    count = config.model.get('num_camera')
    if count is None:
        return
    for _, dataset in _agreeing_datasets(config, layer, 'model.num_camera', count):
        dataset['num_camera'] = count


def spread_num_past(config: Config, layer: Layer) -> None:
    """Let ``model.network.num_past=1`` load the images of the keyframe before in all datasets.

    Raises:
        InputError: a dataset is given another number in the same file, or in one over it; or a dataset loads the past,
            but the network does not look at it.
    """
    count = value_of(config, 'model.network.num_past') or 0
    for own, dataset in _agreeing_datasets(config, layer, 'model.network.num_past', count):
        if dataset.get('type') == DATASET and (count or own):
            dataset['num_past'] = count


def _agreeing_datasets(
    config: Config, layer: Layer, key: str, count: int
) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Yield all datasets, each with its own setting of what a key of the model sets for all.

    Raises:
        InputError: a dataset is given another number in the same file, or in one over it.
    """
    name, place = key.rpartition('.')[2], layer.origin(key)
    for path, dataset in all_datasets(config):
        own = dataset.get(name)
        if own not in (None, count) and not place.inherits(layer.origin(f'{path}.{name}')):
            raise InputError(
                f'{config.filename}: {key}={count} is for all datasets, but {path}.{name} is {own}; leave one of '
                'them away'
            )
        yield own, dataset


def leave_out_worker_options(config: Config, layer: Layer) -> None:
    """Switch off what needs worker processes where ``num_workers=0`` loads in the main process.

    Raises:
        InputError: the command line asks for both.
    """
    for path in LOADERS:
        loader = config.get(path)
        if not isinstance(loader, Mapping) or loader.get('num_workers', 0) != 0:
            continue
        for name, off in (('persistent_workers', False), ('prefetch_factor', None)):
            if loader.get(name) and f'{path}.{name}' in layer.said:
                raise InputError(
                    f'{config.filename}: {path}.{name} needs worker processes, but {path}.num_workers is 0; '
                    'leave it away, or set num_workers to 1 or more'
                )
            if name in loader:
                loader[name] = off


def load_boxes_for_detection(config: Config) -> None:
    """Let the training data load boxes where ``model.det_head_3d`` is trained on them."""
    if config.model.get('det_head_3d') is not None and 'train_dataloader' in config:
        for _, dataset in datasets('train_dataloader', config.train_dataloader):
            dataset['load_boxes'] = True
