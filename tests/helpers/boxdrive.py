"""A longer drive through the box world, with images between its keyframes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from tests.helpers.boxworld import CAMERAS, BoxWorld, save


def write_drive(root: Path, world: BoxWorld, between: int = 1) -> Path:
    """Write a world, and ``between`` images of every camera after each keyframe but the last; return the info file."""
    metainfo, infos = load_infos(world.write(root))
    for info in infos[1:]:
        info['image_sweeps'] = {
            camera: [_image(world, root, camera, info, part / (between + 1)) for part in range(1, between + 1)]
            for camera in CAMERAS
        }
    save_infos(root / 'infos.pkl', 'boxworld', CAMERAS, infos, categories=metainfo['categories'])
    return root / 'infos.pkl'


def _image(world: BoxWorld, root: Path, camera: str, info: dict[str, Any], part: float) -> dict[str, Any]:
    """Write the image of a camera that lies ``part`` of the time after its image in the keyframe before."""
    own = info['images'][camera]
    frame = own['timestamp'] / 0.5 - 1 + part
    cam2global = world.ego2global(frame) @ world.cam2ego(camera)
    path = f'sweeps/{camera}/{info["token"]}_{part:.2f}.png'
    save(root / path, world.view(cam2global)[0])
    same = {key: own[key] for key in ('height', 'width', 'cam2img', 'cam2ego')}
    return {**same, 'img_path': path, 'timestamp': 0.5 * frame, 'cam2global': cam2global.tolist()}
