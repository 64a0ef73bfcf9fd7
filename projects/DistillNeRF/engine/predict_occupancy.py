"""Predict occupancy in the format of Occ3D-nuScenes for the test data of a config."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from tqdm import tqdm

from ..apis import init_model, reconstruct
from ..datasets.dataset import own_datasets
from ..evaluation.occupancy.from_scene import Classify, GridSampling, classify_codes, predict_grid
from ..evaluation.occupancy.labels import save_prediction
from ..models.network import DistillNeRF
from ..semantics.classes import CHANNELS
from ..utils.errors import InputError, warn
from ..utils.files import require_writable
from ..utils.precision import DEFAULT
from .builders import build_dataset
from .machine import prepare_processor

# What tells the class of a voxel.
SEMANTICS = ('none', 'codes')


def predict_occupancy(
    config: Config,
    checkpoint: str | None,
    out: Path,
    semantics: str,
    sampling: GridSampling,
    device: str = 'cpu',
    precision: str = DEFAULT,
) -> Iterator[Path]:
    """Predict the grid of every sample of the test data; yield each file, ``OUT/SCENE/TOKEN.npz``, when it is written.

    Args:
        config: as loaded.
        checkpoint: its file; ``None`` for random weights.
        out: where the files go.
        semantics: ``codes``: the features are codes of MiniTown's classes; ``none``: everything is "others".
        sampling: when a voxel is occupied.
        device: where the network computes.
        precision: what it computes in (:mod:`..utils.precision`).

    Raises:
        InputError: anything wrong with the options, the model, the data or the place for the results.
    """
    _check(sampling)
    datasets = own_datasets(build_dataset(config, 'test'))
    prepare_processor()
    network = init_model(config, checkpoint, device, precision)
    classify = _classifier(network, semantics, config.filename)
    require_writable(out)
    with tqdm(desc='occupancy', total=sum(map(len, datasets)), unit='sample') as bar:
        for dataset in datasets:
            for number in range(len(dataset)):
                sample = dataset[number]
                scene = reconstruct(network, sample['inputs']['input_views'])
                grid = predict_grid(scene, torch.from_numpy(dataset.ego2lidar(number)), classify, sampling)
                path = out / sample['data_samples'].scene / f'{sample["data_samples"].token}.npz'
                save_prediction(path, grid)
                bar.update()
                yield path


def _check(sampling: GridSampling) -> None:
    """Refuse settings that mean nothing."""
    if sampling.lattice < 1:
        raise InputError(f'--lattice is {sampling.lattice}; give 1 or more points per axis')
    if not 0 < sampling.min_density < math.inf:
        raise InputError(f'--min-density is {sampling.min_density}; give a number above 0, per meter')
    if sampling.dilation < 0:
        raise InputError(f'--dilation is {sampling.dilation}; give 0 or more voxels')


def _classifier(network: DistillNeRF, semantics: str, filename: str) -> Classify | None:
    """Return what tells the class of a voxel; None for nothing."""
    if semantics == 'none':
        warn('--semantics none: everything is "others"; of the scores, only IoU (occupied or free) means something')
        return None
    if network.head.renders != 'features' or network.head.settings['out_channels'] != CHANNELS:
        raise InputError(
            f'{filename}: --semantics codes needs a network that renders the {CHANNELS} channels of the class codes of '
            'MiniTown, such as model_wrapper_minitown_features.py; give that, or --semantics none'
        )
    return classify_codes
