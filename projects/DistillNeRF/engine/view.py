"""What there is to look at in the viewer: samples of a data set, what a rig saw, or a saved scene."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from ..apis import init_model, reconstruct, to_device
from ..configuration.config import load_config
from ..datasets.custom_rig import read_folder
from ..geometry.views import Views
from ..models.network import DistillNeRF
from ..models.scene import Scene
from ..utils.errors import InputError
from ..utils.precision import DEFAULT, require_precision
from ..visualization.panel_layout import to_uint8
from ..visualization.panels import ring_order
from ..visualization.viewer.scenes import SceneSource, ViewerScene, without_cameras
from .builders import build_dataset
from .infer import tell_of_no_past
from .machine import prepare_processor


class Samples:
    """Serve the samples of a data set, each encoded when it is chosen.

    Args:
        network: makes the scenes.
        dataset: packed samples, as :class:`...datasets.dataset.DistillNeRFDataset` returns them.
    """

    def __init__(self, network: DistillNeRF, dataset: Dataset) -> None:
        self._network, self._dataset = network, dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def load(self, number: int) -> ViewerScene:
        """Encode one sample.

        Raises:
            InputError: no such sample, or what its files lack.
        """
        if not 0 <= number < len(self):
            raise InputError(f'sample {number}: the test data has samples 0 to {len(self) - 1}')
        sample = self._dataset[number]
        views: Views = sample['inputs']['input_views']
        meta = sample['data_samples']
        title = f'{meta.get("scene", "")} frame {meta.get("frame", number)}'.strip()
        return encode(self._network, views, title)


class CustomRig:
    """What the cameras of a rig saw at one instant (``docs/OWN_DATA.md``).

    Args:
        network: makes the scene.
        views: what they saw.
        title: what to call it.
    """

    def __init__(self, network: DistillNeRF, views: Views, title: str) -> None:
        self._network, self._views, self._title = network, views, title

    def __len__(self) -> int:
        return 1

    def load(self, number: int) -> ViewerScene:
        """Encode the images.

        Raises:
            InputError: the number is not 0.
        """
        require_only(number, 'these images are')
        return encode(self._network, self._views, self._title)


class SavedScene:
    """A scene that was saved.

    Args:
        scene: on the device where it shall be rendered.
        title: what to call it.
    """

    def __init__(self, scene: Scene, title: str) -> None:
        self._scene, self._title = scene, title

    def __len__(self) -> int:
        return 1

    def load(self, number: int) -> ViewerScene:
        """Put a ring of cameras into the scene.

        Raises:
            InputError: the number is not 0.
        """
        require_only(number, 'a saved scene is')
        return without_cameras(self._title, self._scene)


def encode(network: DistillNeRF, views: Views, title: str) -> ViewerScene:
    """Reconstruct the scene that cameras see."""
    views = views[ring_order(views.cameras)]
    scene = reconstruct(network, views)
    return ViewerScene(title, scene, views.cameras.to(scene.fine), views.names, to_uint8(views.images))


def require_only(number: int, what: str) -> None:
    """Check that the number of a sample is 0, where there is one alone.

    Raises:
        InputError: it is another.
    """
    if number != 0:
        raise InputError(f'sample {number}: {what} all there is; leave --sample away')


def leave_a_core() -> None:
    """Compute with all cores but one, unless ``OMP_NUM_THREADS`` says how many.

    The browser and the connection to it need one. Threads that wait for each other stand still when one of them is
    interrupted: on two cores with other work, two threads took ten times as long as one.
    """
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def open_source(
    config: str | None,
    checkpoint: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    data: Path | None = None,
    undistort: bool = False,
    scene: Path | None = None,
    device: str = 'cpu',
    precision: str = DEFAULT,
) -> tuple[SceneSource, str | None]:
    """Return what there is to look at, and the text encoder that the config names.

    Args:
        config: not needed for a saved scene, where only its text encoder counts.
        checkpoint: ``None`` for random weights.
        options: overrides of the config.
        data: a folder of own images (``docs/OWN_DATA.md``) instead of the config's test data.
        undistort: undo the distortion of their lenses.
        scene: file of a scene, instead of any data.
        device: where the network or the scene shall be.
        precision: of the network or of the scene's head (:mod:`..utils.precision`).

    Raises:
        InputError: nothing to look at, options that exclude each other, bad files, or no such device.
    """
    if config is None and scene is None:
        raise InputError(
            'nothing to look at; give a config and a checkpoint, --scene with a saved scene, or --scene-nerf with the '
            'field of a drive'
        )
    if scene is not None and data is not None:
        raise InputError(f'{scene}: a saved scene needs no images; give --scene or --data')
    if undistort and data is None:
        raise InputError('--undistort is for own images; give --data with their folder, or leave it away')
    prepare_processor()
    leave_a_core()
    loaded = None if config is None else load_config(config, options)
    text_encoder = None if loaded is None else loaded.model.get('text_encoder')
    if scene is not None:
        saved = to_device(Scene.load(scene), device)
        require_precision(precision, saved.fine.is_cpu, '--precision')
        return SavedScene(dataclasses.replace(saved, precision=precision), scene.stem), text_encoder
    if data is not None:
        size = loaded.test_dataloader.dataset.get('image_size')
        if size is None:
            raise InputError(f'{loaded.filename}: test_dataloader.dataset has no image_size; use another config')
        views = read_folder(data, tuple(size), undistort)
        network = init_model(loaded, checkpoint, device, precision)
        tell_of_no_past(network, data)
        return CustomRig(network, views, data.resolve().name), text_encoder
    return Samples(init_model(loaded, checkpoint, device, precision), build_dataset(loaded, 'test')), text_encoder
