"""A folder of own images of the box world with its calibration, as a user writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from projects.DistillNeRF.datasets.custom_rig import read_folder
from tests.helpers.boxworld import COLORS, BoxWorld
from tests.helpers.refusals import assert_refused

WORLD = BoxWorld(size=(60, 100))
SIZE = WORLD.size
# The pose of one of its cameras.
FRONT = WORLD.cam2ego('FRONT')


def picture(camera: str, rays: np.ndarray) -> np.ndarray:
    """What a camera sees along rays ``(h, w, 2)`` on its plane z = 1; sky where they are NaN."""
    cam2global = WORLD.ego2global(0) @ WORLD.cam2ego(camera)
    directions = np.dstack([rays, np.ones(rays.shape[:2])]).reshape(-1, 3) @ cam2global[:3, :3].T
    _, hit = WORLD.cast(cam2global[:3, 3], directions)
    return np.array([*COLORS, (90, 150, 255), (100, 100, 100)], np.uint8)[hit].reshape(*rays.shape[:2], 3)


def plane(intrinsics: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(h, w, 2)`` positions of the pixels on the plane z = 1."""
    v, u = np.mgrid[:height, :width]
    return (np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics).T)[..., :2]


def record(camera: str, **changes: Any) -> dict[str, Any]:
    """A camera of ``cameras.json`` in the vehicle frame of the box world: x forward, y left, on the road."""
    matrix = WORLD.intrinsics
    return {
        'name': camera,
        'image': f'{camera}.png',
        'width': SIZE[1],
        'height': SIZE[0],
        'fx': matrix[0, 0],
        'fy': matrix[1, 1],
        'cx': matrix[0, 2],
        'cy': matrix[1, 2],
        'cam2vehicle': WORLD.cam2ego(camera).tolist(),
    } | changes


def write(folder: Path, cameras: list[dict[str, Any]], **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {'frame': 'flu', 'origin_height': 0, 'cameras': cameras} | more
    (folder / 'cameras.json').write_text(json.dumps(content))
    return folder


def refused(folder: Path, *words: str, **options: Any) -> None:
    """Check that a folder is refused with these words."""
    assert_refused(lambda: read_folder(folder, SIZE, **options), *words)
