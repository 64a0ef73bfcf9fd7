"""Pictures of what a model makes of the test data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..apis import init_model, reconstruct
from ..errors import InputError
from ..models.scene import Scene
from ..modules.cameras import Cameras
from ..modules.views import Views
from ..visualization.depth_colors import depth_to_colours
from ..visualization.images import to_uint8, write_png
from ..visualization.options import PictureOptions
from ..visualization.panels import ring_order
from ..visualization.sample_pictures import draw_sample
from ..visualization.trajectories import move_cameras, three_from, trajectory
from ..visualization.video import write_video
from .running import build_dataset, predictions

ROW_GAP = 2


def draw_pictures(config: Config, checkpoint: str | None, directory: Path, count: int) -> Iterator[Path]:
    """What the config's ``model`` asks for of the first ``count`` samples of the test data; yields the files.

    Raises:
        InputError: nothing is asked for, or bad files.
    """
    options = PictureOptions.of(config.model)
    if not options.anything:
        raise InputError(
            f'{config.filename}: nothing to draw; add --cfg-options model.visualize_imgs=True (or visualize_voxels, '
            'visualize_foundation_model_feat, language_query)'
        )
    if count < 1:
        raise InputError(f'{count} samples: nothing to draw; ask for 1 or more')
    for number, sample in enumerate(itertools.islice(predictions(config, checkpoint, directory), count)):
        yield from draw_sample(sample.to_dict(), options, directory, number)


class NovelViews:
    """The scene of one test sample, seen from a trajectory.

    Args:
        config, checkpoint: the model; ``None`` for random weights.
        sample: number of the sample in the test data.

    Raises:
        InputError: no such sample, or bad files.
    """

    def __init__(self, config: Config, checkpoint: str | None, sample: int) -> None:
        dataset = build_dataset(config, 'test')
        if not 0 <= sample < len(dataset):
            raise InputError(f'sample {sample}: the test data has samples 0 to {len(dataset) - 1}')
        views: Views = dataset[sample]['inputs']['input_views']
        self.views = views[ring_order(views.cameras)]
        self.scene: Scene = reconstruct(init_model(config, checkpoint), self.views)

    def strips(self, name: str, index: int, directory: Path) -> list[Path]:
        """Pictures of three poses of a trajectory from ``index`` on; returns the files."""
        motions = trajectory(name)
        if not 0 <= index < len(motions):
            raise InputError(f'pose {index}: trajectory {name} has poses 0 to {len(motions) - 1}')
        paths = []
        for offset, frame in enumerate(self._frames(three_from(motions, index))):
            path = directory / f'{name}_{index + offset:03d}.png'
            write_png(path, frame)
            paths.append(path)
        return paths

    def video(self, name: str, path: Path, fps: float = 10) -> None:
        """The whole trajectory as a video."""
        motions = trajectory(name)
        write_video(path, self._frames(motions), fps=fps, total=len(motions))

    def _frames(self, motions: Tensor) -> Iterator[np.ndarray]:
        """One picture per motion: rendered colours and depths of all cameras in ring order."""
        for motion in motions:
            cameras = move_cameras(self.views.cameras, motion[None])
            yield self._picture(cameras)

    @torch.no_grad()
    def _picture(self, cameras: Cameras) -> np.ndarray:
        rendering = self.scene.render(cameras)
        scale = cameras.height // rendering.depth.shape[1]
        depths = [depth_to_colours(depth.cpu().numpy()) for depth in rendering.depth]
        rows = [list(to_uint8(rendering.image)), [np.kron(d, np.ones((scale, scale, 1), np.uint8)) for d in depths]]
        gap = np.full((cameras.height, ROW_GAP, 3), 255, np.uint8)
        lines = [np.concatenate([part for tile in row for part in (tile, gap)][:-1], axis=1) for row in rows]
        separator = np.full((ROW_GAP, lines[0].shape[1], 3), 255, np.uint8)
        return np.concatenate([lines[0], separator, lines[1]])
