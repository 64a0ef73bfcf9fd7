"""Novel views of a scene: pictures and videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..apis import init_model, reconstruct
from ..geometry.cameras import Cameras
from ..geometry.trajectories import move_cameras, three_from, trajectory
from ..geometry.views import Views
from ..models.scene import Scene
from ..semantics.feature_colors import palette
from ..utils.errors import InputError
from ..utils.precision import DEFAULT
from ..visualization.colors import depth_to_colors
from ..visualization.options import PictureOptions
from ..visualization.panel_layout import to_uint8, write_png
from ..visualization.panels import ring_order
from ..visualization.video import write_video
from .builders import build_dataset

ROW_GAP = 2


class NovelViews:
    """Render a scene along a trajectory.

    Pictures have a column per camera and rows of rendered colors (of a network of colors), depths, and features.

    Args:
        scene: what is rendered.
        cameras: ``(V,)``; every pose of a trajectory moves them all.
        features: also a row of features; a network of features has it anyway.
    """

    def __init__(self, scene: Scene, cameras: Cameras, features: bool = False) -> None:
        self.scene, self.cameras = scene, cameras
        self._outputs, self._palette = {scene.head.renders}, None
        if features or scene.head.renders == 'features':
            self._outputs = {scene.head.renders, 'features'}
            # Colors are fitted once, so that they stay while the camera moves.
            with torch.no_grad():
                self._palette = palette(scene.render(cameras, ('features',)).features)

    @classmethod
    def of_sample(cls, config: Config, checkpoint: str | None, sample: int, precision: str = DEFAULT) -> NovelViews:
        """Reconstruct one test sample, its cameras in ring order.

        Args:
            config: as loaded; ``model.visualize_foundation_model_feat=True`` asks for a row of features.
            checkpoint: its file; ``None`` for random weights.
            sample: number of the sample in the test data.
            precision: of the network (:mod:`..utils.precision`).

        Raises:
            InputError: no such sample, or bad files.
        """
        dataset = build_dataset(config, 'test')
        if not 0 <= sample < len(dataset):
            raise InputError(f'sample {sample}: the test data has samples 0 to {len(dataset) - 1}')
        views: Views = dataset[sample]['inputs']['input_views']
        views = views[ring_order(views.cameras)]
        scene = reconstruct(init_model(config, checkpoint, precision=precision), views)
        return cls(scene, views.cameras, PictureOptions.of(config.model).visualize_foundation_model_feat)

    def strips(self, name: str, index: int, directory: Path) -> list[Path]:
        """Draw three poses of a trajectory from ``index`` on; return the files."""
        motions = trajectory(name)
        if not 0 <= index < len(motions):
            raise InputError(f'pose {index}: trajectory {name} has poses 0 to {len(motions) - 1}')
        paths = []
        for offset, frame in enumerate(self._frames(three_from(motions, index))):
            path = directory / f'{Path(name).stem}_{index + offset:03d}.png'
            write_png(path, frame)
            paths.append(path)
        return paths

    def video(self, name: str, path: Path, fps: float = 10) -> None:
        """Write the whole trajectory as a video."""
        motions = trajectory(name)
        write_video(path, self._frames(motions), fps=fps, total=len(motions))

    def _frames(self, motions: Tensor) -> Iterator[np.ndarray]:
        """Yield one picture per motion."""
        for motion in motions:
            yield self._picture(move_cameras(self.cameras, motion[None]))

    @torch.no_grad()
    def _picture(self, cameras: Cameras) -> np.ndarray:
        rendering = self.scene.render(cameras, self._outputs)
        rows = [] if rendering.rgb is None else [to_uint8(rendering.rgb)]
        rows.append(np.stack([depth_to_colors(depth) for depth in rendering.depth.cpu().numpy()]))
        if self._palette is not None:
            rows.append(self._palette.colors(rendering.features.movedim(1, -1)))
        return _join(rows, cameras.height)


def _join(rows: list[np.ndarray], height: int) -> np.ndarray:
    """Join rows of tiles ``(V, h, w, 3)`` to one picture; tiles are enlarged to ``height`` without new values."""
    lines = []
    for tiles in rows:
        scale = height // tiles.shape[1]
        gap = np.full((height, ROW_GAP, 3), 255, np.uint8)
        large = [np.kron(tile, np.ones((scale, scale, 1), np.uint8)) for tile in tiles]
        lines.append(np.concatenate([part for tile in large for part in (tile, gap)][:-1], axis=1))
    separator = np.full((ROW_GAP, lines[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for line in lines for part in (line, separator)][:-1])
