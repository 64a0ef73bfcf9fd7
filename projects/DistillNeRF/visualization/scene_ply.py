"""A scene as a PLY file."""

from __future__ import annotations

import os

import torch

from ..geometry.cameras import Cameras
from ..models.scene import Scene
from .feature_rows import palette
from .ply import write_ply
from .voxels import LEVELS, colored_cells


@torch.no_grad()
def write_scene_ply(
    scene: Scene, path: str | os.PathLike, cameras: Cameras, level: str, min_density: float, boxes: bool
) -> None:
    """:meth:`..models.scene.Scene.to_ply`."""
    if level not in LEVELS:
        raise ValueError(f'level is {level!r}: choose one of {", ".join(LEVELS)}')
    rendering = scene.render(cameras)
    colors = palette(rendering.image) if scene.head.renders == 'features' else None
    parts = colored_cells(scene, cameras, rendering, colors, scene.head.renders, min_density)
    part = next(part for part in parts if part.level == level)
    write_ply(path, part.cells, part.colors, as_boxes=boxes)
