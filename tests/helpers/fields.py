"""Fields made by hand, and options of fields that are trained in a second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from projects.DistillNeRF.scene_nerf.cells import Cells
from projects.DistillNeRF.scene_nerf.field import SceneField
from projects.DistillNeRF.scene_nerf.marching import CHANNELS, Marching
from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes, NestedGrid
from projects.DistillNeRF.scene_nerf.tracks import Thing


def red_block(images: int = 0) -> SceneField:
    """A dense red block of 2 m, 6 to 8 m ahead and 1 m around the axis, in a green sky."""
    boxes = NestedBoxes(torch.tensor([[-8.0, -8, -8]]), torch.tensor([[8.0, 8, 8]]), torch.tensor([1.0]))
    spots = torch.cartesian_prod(torch.tensor([7, 8]), torch.tensor([14, 15]), torch.tensor([7, 8]))
    grid = NestedGrid.build(boxes, torch.zeros(len(spots), dtype=torch.int64), spots)
    values = torch.zeros(grid.num_vertices, CHANNELS)
    values[:, 0], values[:, 1], values[:, 2:4] = 10.0, 6.0, -6.0
    field = SceneField(Cells(grid, values), images, Marching())
    with torch.no_grad():
        field.sky[:] = torch.tensor([-6.0, 6, -6])[:, None, None]
    return field.eval()


def gray_wall(images: int) -> SceneField:
    """An opaque gray wall across the view, 5 to 6 m ahead, in boxes of 8 m around the origin."""
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.5, 1, (8.0, 8.0, 8.0), coarsest=0.5)
    cells = torch.cartesian_prod(*(torch.arange(8 * int(count)) for count in boxes.blocks[0]))
    depth = (boxes.lower[0] + (cells + 0.5) * 0.5)[:, 1]
    wall = cells[(depth > 5) & (depth < 6)]
    grid = NestedGrid.build(boxes, torch.zeros(len(wall), dtype=torch.int64), wall)
    values = torch.zeros(grid.num_vertices, CHANNELS)
    values[:, 0] = 10.0
    return SceneField(Cells(grid, values), images, Marching(step=0.1))


def flat_pose(yaw: float, *shift: float) -> np.ndarray:
    """Make a pose ``(4, 4)`` that turns about z only."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    matrix[:3, 3] = shift
    return matrix


def thing(*poses: tuple[float, np.ndarray], half: tuple[float, float, float] = (1.0, 2.0, 0.8)) -> Thing:
    """Make a thing with points all over its box, which was seen at some times."""
    corner = np.array(half)
    points = (np.random.default_rng(0).random((4000, 3)) * 2 - 1) * (corner - 0.1)
    times, matrices = zip(*poses, strict=True)
    numbers = np.zeros(len(points), np.int64)
    return Thing(np.array(times), np.stack(matrices), -corner, corner, points.astype(np.float32), numbers)


def add_things(field: SceneField, color: tuple[float, float, float], *things: Thing) -> None:
    """Fill the boxes of things with opaque cells of one color (logits)."""
    field.moving.learn_of(things, 0.4)
    field.moving.begin(0.4)
    cells = field.moving.cells
    cells.replace(cells.grid, opaque_values(cells.grid, color))


def opaque_values(grid: NestedGrid, color: tuple[float, float, float]) -> Tensor:
    """Return opaque values of one color (logits)."""
    values = torch.zeros(grid.num_vertices, CHANNELS)
    values[:, 0] = 12.0
    values[:, 1:4] = torch.tensor(color)
    return values


QUICK_STEPS = 4


def quick_options(files: Sequence[Path], root: Path, scene: str = 'minitown-0001', **changes: object) -> list[str]:
    """Options of tools/train.py and tools/render_scene_nerf.py for a field of the town of boxes."""
    settings = {
        'scene_nerf.ann_files': [str(file) for file in files],
        'scene_nerf.scene': scene,
        **{f'scene_nerf.roots.{kind}': str(root) for kind in ('img', 'lidar', 'truth')},
        'scene_nerf.image_size': [14, 25],
        'train_cfg.max_iters': QUICK_STEPS,
        'train_dataloader.dataset.num_rays': 128,
        'train_dataloader.dataset.num_beams': 32,
        'model.cell_size': 0.8,
        'model.divisions': 1,
        'model.levels': 2,
        'model.reach': [8.0, 3.0, 4.0],
        'custom_hooks.2.divide': [0.3],
        'custom_hooks.2.drop': [0.6],
        'default_hooks.checkpoint.interval': QUICK_STEPS,
        **changes,
    }
    return [f'{name}={value}'.replace(' ', '') for name, value in settings.items()]
