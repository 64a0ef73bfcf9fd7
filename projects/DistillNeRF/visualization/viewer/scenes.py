"""What there is to look at: samples of a data set, each encoded when it is chosen; own images; a saved scene."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from mmengine.config import Config

from ...apis import init_model, reconstruct, to_device
from ...datasets.custom_rig import read_folder
from ...engine.running import build_dataset
from ...geometry.cameras import Cameras
from ...geometry.views import Views
from ...models.network import DistillNeRF
from ...models.scene import Scene
from ...utils.errors import InputError
from ..panel_layout import to_uint8
from ..panels import ring_order
from .viewpoints import Viewpoint, looking

# Cameras around a scene that comes without any: so many, each so wide (degrees), at so many rows of rays.
RING_CAMERAS, RING_FOV, RING_ROWS = 6, 45.0, 28


@dataclass(frozen=True)
class ViewerScene:
    """One scene and the cameras that saw it.

    Attributes:
        title: what it is, in a few words.
        scene: what was made of it.
        cameras: ``(V,)``.
        names: of the cameras.
        images: ``(V, H, W, 3)`` uint8 RGB; ``None`` where nothing but the scene is known, and the cameras are a ring
            that was put there to draw by.
    """

    title: str
    scene: Scene
    cameras: Cameras
    names: tuple[str, ...]
    images: np.ndarray | None

    @property
    def front(self) -> Viewpoint:
        """The camera that looks most to the front."""
        forward = self.cameras.cam2world[:, 1, 2]
        return Viewpoint.of_cameras(self.cameras, int(forward.argmax()))


class Source(Protocol):
    """Some glances, by number."""

    def __len__(self) -> int:
        """How many."""

    def load(self, number: int) -> ViewerScene:
        """Make one of them; takes a while."""


class Samples:
    """The samples of a config's test data, through its network.

    Raises:
        InputError: bad files.
    """

    def __init__(self, config: Config, checkpoint: str | None, device: str = 'cpu') -> None:
        self._network = init_model(config, checkpoint, device)
        self._dataset = build_dataset(config, 'test')

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


class OwnImages:
    """What the cameras of a folder saw (``docs/OWN_DATA.md``), through a config's network.

    Args:
        folder: images and ``cameras.json``.
        undistort: undo the distortion of the lenses.

    Raises:
        InputError: anything wrong with the folder or the model.
    """

    def __init__(
        self, folder: Path, config: Config, checkpoint: str | None, undistort: bool = False, device: str = 'cpu'
    ) -> None:
        size = config.test_dataloader.dataset.get('image_size')
        if size is None:
            raise InputError(f'{config.filename}: test_dataloader.dataset has no image_size; use another config')
        self._title = folder.resolve().name
        self._views = read_folder(folder, tuple(size), undistort)
        self._network = init_model(config, checkpoint, device)

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
    """A scene from a file.

    Raises:
        InputError: missing, no scene, or no such device.
    """

    def __init__(self, path: Path, device: str = 'cpu') -> None:
        self._title = path.stem
        self._scene = to_device(Scene.load(path), device)

    def __len__(self) -> int:
        return 1

    def load(self, number: int) -> ViewerScene:
        """The scene, whatever the number.

        Raises:
            InputError: the number is not 0.
        """
        require_only(number, 'a saved scene is')
        names = tuple(f'{round(360 * i / RING_CAMERAS)} degrees' for i in range(RING_CAMERAS))
        return ViewerScene(self._title, self._scene, ring(self._scene), names, None)


def encode(network: DistillNeRF, views: Views, title: str) -> ViewerScene:
    """RenderSession once."""
    views = views[ring_order(views.cameras)]
    scene = reconstruct(network, views)
    return ViewerScene(title, scene, views.cameras.to(scene.fine), views.names, to_uint8(views.images))


def require_only(number: int, what: str) -> None:
    """Whether it is number 0 that is asked for.

    Raises:
        InputError: it is another.
    """
    if number != 0:
        raise InputError(f'sample {number}: {what} all there is; leave --sample away')


def ring(scene: Scene) -> Cameras:
    """Level cameras at the origin that look everywhere, the first one to the front, clockwise."""
    fov = np.radians(RING_FOV)
    views = []
    for i in range(RING_CAMERAS):
        angle = 2 * np.pi * i / RING_CAMERAS
        view = looking((0, 0, 0), (np.sin(angle), np.cos(angle), 0), float(fov))
        views.append(view.cameras(RING_ROWS, scene.downscale, scene.fine))
    return dataclasses.replace(
        views[0],
        intrinsics=torch.cat([view.intrinsics for view in views]),
        cam2world=torch.cat([view.cam2world for view in views]),
    )
