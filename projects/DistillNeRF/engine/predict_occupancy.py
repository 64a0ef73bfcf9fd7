"""Predict occupancy in the format of Occ3D-nuScenes for the test data of a config."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from tqdm import tqdm

from ..apis import init_model, reconstruct
from ..datasets.dataset import own_datasets
from ..evaluation.occupancy.from_scene import GridSampling, predict_grid
from ..evaluation.occupancy.labels import save_prediction
from ..evaluation.occupancy.voxel_classes import Semantics, VoxelClassifier
from ..utils.errors import warn
from ..utils.files import require_writable
from ..utils.precision import DEFAULT
from .builders import build_dataset
from .machine import prepare_processor
from .occupancy_options import option


def predict_occupancy(
    config: Config,
    checkpoint: str | None,
    out: Path,
    semantics: Semantics,
    sampling: GridSampling,
    device: str,
    precision: str = DEFAULT,
) -> Iterator[Path]:
    """Predict the grid of every sample of the test data; yield each file, ``OUT/SCENE/TOKEN.npz``, when it is written.

    Args:
        config: as loaded.
        checkpoint: its file; ``None`` for random weights.
        out: where the files go.
        semantics: what tells classes.
        sampling: when a voxel is occupied.
        device: where the network computes.
        precision: what it computes in (:mod:`..utils.precision`).

    Raises:
        InputError: anything wrong with the options, the model, the data or the place for the results.
    """
    sampling.check(option)
    semantics.check(option)
    datasets = own_datasets(build_dataset(config, 'test'))
    prepare_processor()
    network = init_model(config, checkpoint, device, precision)
    classifier = VoxelClassifier(semantics, network.head, config.filename, option)
    if semantics.kind == 'none':
        warn('--semantics none: everything is "others"; of the scores, only IoU (occupied or free) means something')
    require_writable(out)
    with tqdm(desc='occupancy', total=sum(map(len, datasets)), unit='sample') as bar:
        for dataset in datasets:
            for number in range(len(dataset)):
                sample = dataset[number]
                views = sample['inputs']['input_views']
                scene = reconstruct(network, views)
                classify = classifier.of_sample(views, dataset.label_maps_of(number))
                grid = predict_grid(scene, torch.from_numpy(dataset.ego2lidar(number)), classify, sampling)
                path = out / sample['data_samples'].scene / f'{sample["data_samples"].token}.npz'
                save_prediction(path, grid)
                bar.update()
                yield path
