"""Evaluate by a protocol (:mod:`..evaluation.protocols`): what it changes in a config, and what is said about it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from torch.utils.data import Dataset

from ..configuration.options import DATASET, DEPTH_TRANSFORM, datasets
from ..datasets.dataset import DistillNeRFDataset, own_datasets
from ..datasets.protocol_samples import Units
from ..evaluation.protocols import Protocol, protocol_named
from ..utils.errors import InputError

# Metrics of samples -> those of protocols.
METRICS = {'ImageMetric': 'ProtocolImageMetric', 'DepthMetric': 'ProtocolDepthMetric'}
# Share by which the rate of frames may differ from that of a protocol.
SAME_RATE = 0.1


def with_protocol(config: Config, name: str, trajectory: str = 'left_right') -> Config:
    """Return a copy of a config whose test data are chosen by a protocol.

    Args:
        config: as loaded.
        name: of the protocol.
        trajectory: of ``true_views``.

    Raises:
        InputError: no such protocol, or its data cannot be changed.
    """
    protocol = protocol_named(name)
    config = copy.deepcopy(config)
    ours = [dataset for _, dataset in datasets('test_dataloader', config.test_dataloader)]
    if not ours or any(dataset.get('type') != DATASET for dataset in ours):
        raise InputError(f'{config.filename}: --protocol needs test data of the type {DATASET}; leave one of them')
    for dataset in ours:
        # Caches have the images of keyframes alone.
        pipeline = [one for one in dataset.get('pipeline') or () if one.get('type') != DEPTH_TRANSFORM]
        dataset |= {'protocol': protocol.name, 'cache': None, 'pipeline': pipeline}
    if name == 'true_views':
        config.test_dataloader.dataset = {
            'type': 'TrueViewDataset',
            'dataset': config.test_dataloader.dataset,
            'trajectory': trajectory,
        }
    return config


def protocol_of(config: Config) -> Protocol | None:
    """Return the protocol of the test data of a config; None if it has none."""
    names = {dataset.get('protocol') for _, dataset in datasets('test_dataloader', config.test_dataloader)}
    if len(names) > 1:
        raise InputError(f'{config.filename}: its test data are of several protocols; evaluate them one by one')
    name = names.pop() if names else None
    return None if name is None else protocol_named(name)


def protocol_evaluations(protocol: Protocol | None, names: Sequence[str], explicit: bool, config: Config) -> list[str]:
    """Return those evaluations that a protocol has figures of.

    Raises:
        InputError: it has none of one that was asked for, or of none.
    """
    if protocol is None or protocol.evaluations is None:
        return list(names)
    fitting = [name for name in names if name in protocol.evaluations]
    if explicit and len(fitting) < len(names):
        wrong = next(name for name in names if name not in fitting)
        raise InputError(
            f'{config.filename}: protocol {protocol.name} has no figures of --eval {wrong}; choose from '
            f'{", ".join(protocol.evaluations)}, or leave the protocol'
        )
    if 'novel_view' in protocol.evaluations and 'novel_view' not in fitting and not explicit:
        raise InputError(
            f'{config.filename}: its network renders no colors, which protocol {protocol.name} compares; ask for '
            '--eval depth, or use protocol distillnerf'
        )
    return fitting


def protocol_evaluators(protocol: Protocol | None, evaluators: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return metrics with the settings of a protocol; others stay as they are."""
    if protocol is None:
        return [dict(metric) for metric in evaluators]
    changed = []
    for metric in map(dict, evaluators):
        if metric['type'] == 'ImageMetric':
            metric['clamp'] = protocol.clamp
        changed.append({**metric, 'type': METRICS.get(metric['type'], metric['type'])})
    return changed


def about_protocol(protocol: Protocol | None, dataset: Dataset) -> dict[str, Any] | None:
    """Return what a protocol is, what it found in the data, and where these deviate from it; None without one."""
    if protocol is None:
        return None
    ours = own_datasets(dataset)
    skipped: dict[str, int] = {}
    for part in ours:
        for what, count in part.plan.skipped.items():
            skipped[what] = skipped.get(what, 0) + count
    planned = [part.planned(number) for part in ours for number in range(len(part))]
    scored = getattr(dataset, 'scored_images', None) or sum(len(_images(one.colors)) for one in planned)
    deviations = dict.fromkeys(text for part in ours for text in _deviations(protocol, part))
    return {
        **protocol.describe(),
        'samples': len(dataset),
        'scored images': scored,
        'skipped': skipped,
        'deviations': list(deviations),
    }


def _images(groups: Mapping[str, Units]) -> set[int]:
    """Return the positions of all target views of some groups."""
    return {position for units in groups.values() for unit in units for position in unit}


def _deviations(protocol: Protocol, dataset: DistillNeRFDataset) -> list[str]:
    """List in words how the measurement is not the published one."""
    found = []
    name = dataset.metainfo.get('dataset', 'unknown')
    if str(name).lower() not in protocol.data.lower():
        found.append(f'data: {name}, protocol: {protocol.data}')
    size = dataset.image_size
    if protocol.sizes and size not in protocol.sizes:
        published = ' or '.join(f'{height} x {width}' for height, width in protocol.sizes)
        found.append(f'size: {size[0]} x {size[1]}, protocol: {published}')
    usual = 1 / dataset.plan.period
    if protocol.between and protocol.rate is not None and abs(usual / protocol.rate - 1) > SAME_RATE:
        found.append(f'frames per second: {usual:.3g}, protocol: {protocol.rate:g}')
    if not protocol.between and protocol.rate is not None and usual < protocol.rate * (1 - SAME_RATE):
        found.append(f'keyframes per second: {usual:.3g}, protocol: {protocol.rate:g}')
    found += _other_cameras(protocol, dataset)
    if len(dataset) < len(dataset.plan.samples):
        found.append(f'samples: {len(dataset)} of {len(dataset.plan.samples)}, by other options of the data')
    if dataset.num_past:
        found.append('inputs: the images of the keyframe before, too (num_past)')
    if protocol.several_glances is not None:
        found.append(f'one glance{" and its past" if dataset.num_past else ""}: {protocol.several_glances}')
    return found


def _other_cameras(protocol: Protocol, dataset: DistillNeRFDataset) -> list[str]:
    """Say, if it is so, that the cameras are not as many as those of a protocol, or that they are others."""
    wanted = protocol.cameras or len(dataset.metainfo['cameras'])
    if len(dataset.cameras) != wanted:
        return [f'cameras: {len(dataset.cameras)}, protocol: {wanted}']
    usual = dataset.cameras_of_protocol()
    if set(dataset.cameras) == set(usual):
        return []
    return [f'cameras: {", ".join(dataset.cameras)}, protocol: {", ".join(usual)}']


def protocol_lines(about: Mapping[str, Any]) -> str:
    """Return the lines that stand above the figures of a protocol."""
    sizes = ' or '.join(about['sizes']) or 'any'
    lines = [
        f'protocol {about["name"]} ({about["data"]}, {sizes})',
        f'  frames: {about["frames"]}',
        f'  colors {about["colors"]}; mask {about["mask"]}; PSNR {about["psnr"]}',
        f'  scores: {about["scores"]}',
        *(f'  choice: {choice}' for choice in about['choices']),
        f'  samples: {about["samples"]}, {about["scored images"]} scored images',
        *(f'  left out: {count} {what}' for what, count in about['skipped'].items()),
        *(f'  DEVIATION: {text}' for text in about['deviations']),
    ]
    return '\n'.join(lines)
