"""Draw what a model makes of a folder of own images, or of the test data."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ..apis import init_model
from ..datasets.custom_rig import read_folder, tell_of_unused_images
from ..geometry.trajectories import trajectory
from ..geometry.views import Views
from ..models.network import DistillNeRF
from ..utils.errors import InputError, warn
from ..utils.files import require_writable
from ..utils.precision import DEFAULT
from ..visualization.options import PictureOptions
from ..visualization.panels import ring_order
from ..visualization.sample_pictures import draw_sample
from ..visualization.video import require_video
from .evaluate import predictions
from .machine import prepare_processor
from .novel_views import NovelViews


def infer(
    folder: Path,
    config: Config,
    checkpoint: str | None,
    out: Path,
    *,
    undistort: bool,
    path: str,
    device: str,
    precision: str = DEFAULT,
) -> Iterator[Path]:
    """Reconstruct the scene that the cameras of a folder saw; yield each file when it is written.

    The files are a panel and its tiles, voxels (PLY, page, maps from above), ``scene.pt`` (``Scene.load``), and a video
    along a trajectory.

    Args:
        folder: images and ``cameras.json`` (``docs/OWN_DATA.md``).
        config: as loaded; its ``model`` may ask for more pictures.
        checkpoint: its file; ``None`` for random weights.
        out: where the files go.
        undistort: undo the distortion of the lenses.
        path: name of the trajectory, or its JSON file.
        device: where the network computes.
        precision: what it computes in (:mod:`..utils.precision`).

    Raises:
        InputError: anything wrong with the folder, the model or the place for the results.
    """
    size = config.test_dataloader.dataset.get('image_size')
    if size is None:
        raise InputError(f'{config.filename}: test_dataloader.dataset has no image_size; use another config')
    asked = PictureOptions.of(config.model)
    options = dataclasses.replace(asked, visualize_imgs=True, visualize_voxels=True)
    trajectory(path)  # an unknown one is refused before the work
    views = read_folder(folder, tuple(size), undistort)
    tell_of_unused_images(folder)
    require_writable(out)
    video = require_video(out / f'{Path(path).stem}.mp4')
    prepare_processor()
    network = init_model(config, checkpoint, device, precision)
    tell_of_no_past(network, folder)
    fields = _predict(network, views[ring_order(views.cameras)].to(device))
    yield from draw_sample({**fields, 'scene': folder.resolve().name}, options, out, 0)
    scene = fields['scene_field']
    scene.save(out / 'scene.pt')
    yield out / 'scene.pt'
    NovelViews(scene, fields['input_views'].cameras, asked.visualize_foundation_model_feat).video(path, video)
    yield video


def tell_of_no_past(network: DistillNeRF, folder: Path) -> None:
    """Say that a network that looks at the keyframe before, too, has none in a folder of images."""
    if network.num_past:
        warn(f'{folder}: images of one instant, but the network knows a past, too (num_past=1): it does without')


@torch.no_grad()
def _predict(network: DistillNeRF, views: Views) -> dict[str, Any]:
    """Return what the wrapped model predicts for a sample whose targets are its inputs."""
    encoded = network.encode([views])[0]
    rendering = encoded.scene.render(views.cameras)
    return {
        'input_views': views,
        'target_views': views,
        'scene_field': encoded.scene,
        **{name: getattr(rendering, name) for name in ('rgb', 'features') if getattr(rendering, name) is not None},
        'depth': rendering.depth,
        'opacity': rendering.opacity,
        'coarse_depth': encoded.coarse.depth,
        'fine_depth': encoded.fine.depth,
    }


# Samples to draw, unless a user says how many.
USUAL_COUNT = 4


@torch.no_grad()
def draw_pictures(
    config: Config, checkpoint: str | None, directory: Path, count: int | None = None, precision: str = DEFAULT
) -> Iterator[Path]:
    """Draw the first samples of the test data as the config's ``model`` asks; yield each file when it is written.

    Args:
        config: as loaded.
        checkpoint: its file; ``None`` for random weights.
        directory: where pictures and the log of the run go.
        count: how many samples; ``None`` for the usual number.
        precision: of the network (:mod:`..utils.precision`).

    Raises:
        InputError: nothing is asked for, or bad files.
    """
    options = PictureOptions.of(config.model)
    if not options.anything:
        raise InputError(
            f'{config.filename}: nothing to draw; add --cfg-options model.visualize_imgs=True (or visualize_voxels, '
            'visualize_foundation_model_feat, language_query)'
        )
    options.check_use()
    if count is not None and count < 1:
        raise InputError(f'{count} samples: nothing to draw; ask for 1 or more')
    drawn = 0
    samples = predictions(config, checkpoint, directory, precision)
    for number, sample in enumerate(itertools.islice(samples, count or USUAL_COUNT)):
        yield from draw_sample(sample.to_dict(), options, directory, number)
        drawn = number + 1
    if count is not None and drawn < count:
        warn(f'{config.filename}: {count} samples are asked for, but the test data has {drawn}')
