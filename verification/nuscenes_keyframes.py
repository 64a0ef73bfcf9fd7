"""Cut consecutive keyframes of nuScenes, without LiDAR: ``python -m verification.nuscenes_keyframes SOURCE --out DIR``.

Writes ``nuscenes_infos_train.pkl`` of all keyframes but the last, and ``nuscenes_infos_val.pkl`` of the last three: the
second of these is what a network is given, the first its past, the third what it is asked for. Nothing of the last
keyframe is trained on (docs/SUCCESSOR.md#four-real-keyframes-of-nuscenes). In place of LiDAR stand the points that the
images of two keyframes of the same file tell (``verification/image_points.py``).

``SOURCE`` is an info file of ``tools/create_data.py nuscenes`` that holds ``--scene``, or a folder with images and a
``calibration.json``, whose matrices are nested lists, meters, ``a2b`` from frame a to b::

    {"image_size": [W, H], "lidar2ego": 4x4,
     "cameras": {CAMERA: {"K": 3x3, "cam2ego": 4x4}},
     "frames": [{"sample_token": TOKEN, "lidar_timestamp_us": INT, "images": {CAMERA: PATH},
                 "camera_timestamp": {CAMERA: {"us": INT}}, "ego2global": 4x4,
                 "exposure_ego2ego": {CAMERA: 4x4}}],        ego when the image was taken, to ego at the LiDAR's time
     "joint_refinement": {"cam2ego": {CAMERA: 4x4}, "ego2global": [4x4]}}               optional: for --refined
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from projects.DistillNeRF.datasets.converters.common import (
    camera_record,
    check_images,
    link_frames,
    number_samples,
    same_cameras,
)
from projects.DistillNeRF.datasets.image_files import read_image
from projects.DistillNeRF.datasets.info_arrays import Info
from projects.DistillNeRF.datasets.infos import InfoFile, load_infos, save_info_files
from projects.DistillNeRF.geometry.poses import inverse_pose
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.files import read_json, require_file

from .image_points import Image, points_of_rig

CALIBRATION = 'calibration.json'
# Of v1.0-mini, in its validation split.
SCENE, KEYFRAMES = 'scene-0103', 4
WITHOUT_LIDAR: Info = {'lidar_points': None, 'lidar_sweeps': [], 'instances': []}
# Points are made of images of half the size.
SCALE = 0.5


def read_keyframes(folder: Path, scene: str, refined: bool) -> list[Info]:
    """Make a record of each keyframe of a folder; paths are relative to it.

    Args:
        folder: with :data:`CALIBRATION`.
        scene: its name.
        refined: take the refined poses.

    Raises:
        InputError: no such file, or something is missing in it.
    """
    path = folder / CALIBRATION
    content = read_json(path, 'give a folder with images and their calibration')
    try:
        joint = content['joint_refinement'] if refined else {}
        infos = [_keyframe(content, scene, number, joint) for number in range(len(content['frames']))]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        why = f'lacks {error}' if isinstance(error, KeyError) else str(error)
        raise InputError(f'{path}: {why}; see the head of verification/nuscenes_keyframes.py') from error
    return infos


def _keyframe(content: dict[str, Any], scene: str, number: int, joint: dict[str, Any]) -> Info:
    """Make the record of a keyframe.

    Args:
        content: of the calibration.
        scene: its name.
        number: of the keyframe.
        joint: refined poses; empty for none.
    """
    frame, (width, height) = content['frames'][number], content['image_size']
    ego2global = np.array(joint['ego2global'][number] if joint else frame['ego2global'], dtype=np.float64)
    lidar2ego = np.array(content['lidar2ego'], dtype=np.float64)
    lidar2global = ego2global @ lidar2ego
    images = {}
    for camera, calibration in content['cameras'].items():
        cam2ego = np.array(joint['cam2ego'][camera] if joint else calibration['cam2ego'], dtype=np.float64)
        ego2global_then = ego2global @ np.array(frame['exposure_ego2ego'][camera], dtype=np.float64)
        images[camera] = camera_record(
            camera,
            frame['images'][camera],
            (height, width),
            np.array(calibration['K'], dtype=np.float64),
            ego2global_then @ cam2ego,
            lidar2global,
            ego2global_then,
            frame['camera_timestamp'][camera]['us'] / 1e6,
            scene,
        )
    return {
        'token': frame['sample_token'],
        'scene': scene,
        'frame': number,
        'timestamp': frame['lidar_timestamp_us'] / 1e6,
        'ego2global': ego2global.tolist(),
        'lidar2global': lidar2global.tolist(),
        'images': images,
        **WITHOUT_LIDAR,
    }


def first_keyframes(path: Path, scene: str, count: int) -> list[Info]:
    """Return the records of the first keyframes of a scene in an info file, without LiDAR.

    Raises:
        InputError: a bad file, or it has not so many keyframes of that scene.
    """
    _, infos = load_infos(path)
    found = [info for info in infos if info['scene'] == scene][:count]
    if len(found) < count:
        names = ', '.join(sorted({info['scene'] for info in infos})[:10])
        raise InputError(f'{path}: has {len(found)} keyframes of {scene}, not {count}; its scenes: {names}')
    return [{key: value for key, value in info.items() if key != 'image_sweeps'} | WITHOUT_LIDAR for info in found]


def cut(infos: Sequence[Info], out: Path, root: Path) -> None:
    """Write the info files of the training and of the test.

    Args:
        infos: records of consecutive keyframes, whose paths are relative to ``root``.
        out: folder of the info files.
        root: of the images; the info files say where it is seen from ``out``.

    Raises:
        InputError: fewer than three keyframes, an image that is missing, or a record that cannot be true.
    """
    if len(infos) < 3:
        raise InputError(f'{root}: has {len(infos)} keyframes; give three or more: two to train on and one to ask for')
    cameras = same_cameras(infos, root)
    check_images(root, infos, root)
    here = Path(os.path.relpath(root, out))
    files = []
    for split, part in (('train', infos[:-1]), ('val', infos[-3:])):
        own = copy.deepcopy(list(part))
        for image in (image for info in own for image in info['images'].values()):
            image['img_path'] = (here / image['img_path']).as_posix()
        link_frames(own)
        number_samples(own)
        write_points(own, out, Path('points') / split)
        path = out / f'nuscenes_infos_{split}.pkl'
        files.append(InfoFile(path, 'nuscenes', cameras, own, root, {'split': split}))
    save_info_files(files)


def write_points(infos: Sequence[Info], out: Path, folder: Path) -> None:
    """Write the points of each keyframe, in its LiDAR frame, and name them in its record.

    Args:
        infos: records of consecutive keyframes, whose paths are relative to ``out``; each is compared with the next
            one, the last with that before.
        out: folder of the info files.
        folder: of the points, relative to it.
    """
    (out / folder).mkdir(parents=True, exist_ok=True)
    for number, info in enumerate(infos):
        other = infos[number + 1 if number + 1 < len(infos) else number - 1]
        rigs = [[_image(out, part['images'][camera]) for camera in info['images']] for part in (info, other)]
        lidar2global = np.array(info['lidar2global'])
        points = points_of_rig(*rigs) - lidar2global[:3, 3]
        path = folder / f'{info["scene"]}_{info["frame"]}.bin'
        (points @ lidar2global[:3, :3]).astype(np.float32).tofile(out / path)
        lidar2ego = inverse_pose(np.array(info['ego2global'])) @ lidar2global
        info['lidar_points'] = {'lidar_path': path.as_posix(), 'num_pts_feats': 3, 'lidar2ego': lidar2ego.tolist()}


def _image(root: Path, record: Info) -> Image:
    """Read an image at :data:`SCALE`."""
    gray = cv2.cvtColor(read_image(root / record['img_path']), cv2.COLOR_BGR2GRAY)
    gray = cv2.resize(gray, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    intrinsics = np.array(record['cam2img'])
    # Pixel (0, 0) is the center of a pixel.
    intrinsics[:2] *= SCALE
    intrinsics[:2, 2] += (SCALE - 1) / 2
    return Image(gray, intrinsics, np.array(record['cam2global']))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='info file of nuScenes, or folder with calibration.json')
    parser.add_argument('--out', type=Path, required=True, help='folder of the info files')
    parser.add_argument('--scene', default=SCENE, help=f'its name; default: {SCENE}')
    parser.add_argument('--keyframes', type=int, default=KEYFRAMES, help=f'of an info file; default: {KEYFRAMES}')
    parser.add_argument('--refined', action='store_true', help='poses of joint_refinement in calibration.json')
    return parser.parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write both info files."""
    args = parse_args(argv)
    if args.source.is_dir():
        root, infos = args.source, read_keyframes(args.source, args.scene, args.refined)
    else:
        if args.refined:
            raise InputError(f'{args.source}: an info file has no refined poses; leave --refined away')
        path = require_file(args.source, 'give an info file of tools/create_data.py nuscenes')
        root, infos = path.parent, first_keyframes(path, args.scene, args.keyframes)
    cut(infos, args.out, root)
    print(
        f'wrote {args.out}/nuscenes_infos_{{train,val}}.pkl: trained on {len(infos) - 1} keyframes, asked for the last'
    )


if __name__ == '__main__':
    main()
