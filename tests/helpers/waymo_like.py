"""Files and records as those of Waymo, made from a town: three cameras of its size, its names and places of files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from projects.DistillNeRF.datasets.infos import Info, load_infos, save_infos
from projects.DistillNeRF.datasets.teacher_files import ORIGINAL_VIEW, VIRTUAL_VIEWS, paths_beside, virtual_view_files
from projects.DistillNeRF.datasets.waymo_splits import COUNT, STATIC32
from projects.MiniTown.truth import teacher_root
from tests.helpers.boxtown import SMALL

# Camera of the town -> its name and number in Waymo.
CAMERAS = {'CAM_FRONT_LEFT': ('FRONT_LEFT', 1), 'CAM_FRONT': ('FRONT', 0), 'CAM_FRONT_RIGHT': ('FRONT_RIGHT', 2)}
SIDES = {'CAM_BACK_LEFT': ('SIDE_LEFT', 3), 'CAM_BACK_RIGHT': ('SIDE_RIGHT', 4)}
SIZE = (1280, 1920)
# Height of images to the sides as a share of that of the others.
SIDE_HEIGHT = 886 / 1280
# Settings of a town with images of that shape.
TOWN = {**SMALL, 'height': 128, 'width': 192}


def write_waymo_like(
    town: Path,
    root: Path,
    size: tuple[int, int] = SIZE,
    tag: str = 'minitown',
    teacher: bool = True,
    five: bool = False,
) -> Path:
    """Write ``waymo_infos_{train,val}.pkl``, images and teacher files below a folder; return it.

    Args:
        town: root of a town; LiDAR stays there.
        root: the new folder.
        size: (height, width) of the images.
        tag: of the town's info files.
        teacher: whether to write the town's teacher files, too.
        five: the two cameras to the sides, too, whose images are lower.
    """
    sizes = dict.fromkeys(CAMERAS, size)
    if five:
        sizes |= dict.fromkeys(SIDES, (round(size[0] * SIDE_HEIGHT), size[1]))
    cameras = tuple((CAMERAS | SIDES)[camera][0] for camera in sizes)
    for split in ('train', 'val'):
        _, infos = load_infos(town / f'{tag}_infos_{split}.pkl')
        for info in infos:
            _frame(info, town, root, sizes, teacher)
        save_infos(root / f'waymo_infos_{split}.pkl', 'waymo', cameras, infos)
    for folder in {Path(path).parts[0] for path in _lidar_paths(infos)}:
        (root / folder).symlink_to((town / folder).resolve())
    return root


def _lidar_paths(infos: list[Info]) -> list[str]:
    measured = [part for info in infos for part in (info, *info['lidar_sweeps']) if part.get('lidar_points')]
    return [part['lidar_points']['lidar_path'] for part in measured]


def _frame(info: Info, town: Path, root: Path, sizes: dict[str, tuple[int, int]], teacher: bool) -> None:
    """Write the files of a frame and change its record to theirs."""
    sweeps = info.pop('image_sweeps', {})
    images, between = {}, {}
    for old, size in sizes.items():
        name, number = (CAMERAS | SIDES)[old]
        folder = f'kitti_format/{info["scene"]}/image_{number}'
        images[name] = _image(info['images'][old], town, root, f'{folder}/{info["frame"]:03d}.jpg', size)
        _teacher(images[name], town, root, write=teacher)
        images[name]['features'] = f'{name}/{info["scene"]}_{info["frame"]:03d}.npy'
        between[name] = [
            _image(sweep, town, root, f'{folder}/{info["frame"]:03d}_{place}.jpg', size)
            for place, sweep in enumerate(sweeps.get(old, ()))
        ]
    info['images'] = images
    if sweeps:
        info['image_sweeps'] = between


def _image(record: Info, town: Path, root: Path, path: str, size: tuple[int, int]) -> dict[str, Any]:
    """Write an image in another size; return its record."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    image = cv2.imread(str(town / record['img_path']))
    assert cv2.imwrite(str(target), cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))
    scale = np.diag([size[1] / record['width'], size[0] / record['height'], 1.0])
    kept = {key: value for key, value in record.items() if key not in ('truth', 'features')}
    cam2img = (scale @ np.asarray(record['cam2img'])).tolist()
    return {**kept, 'img_path': path, 'height': size[0], 'width': size[1], 'cam2img': cam2img}


def _teacher(image: dict[str, Any], town: Path, root: Path, write: bool) -> None:
    """Give an image the teacher files of Waymo, with what the town's say."""
    old, image['teacher'] = image['teacher'], paths_beside(image['img_path'])
    for view in (ORIGINAL_VIEW, *VIRTUAL_VIEWS) if write else ():
        both = [
            files if view == ORIGINAL_VIEW else virtual_view_files(files, view) for files in (old, image['teacher'])
        ]
        for kind, path in both[0].items():
            target = root / both[1][kind]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((teacher_root(town) / path).read_bytes())


def training_segments() -> list[str]:
    """As many names as Waymo has training segments, made up but for those that are known, in their order."""
    known = [(-1, '1000'), *STATIC32.items(), (COUNT, '99')]
    names = []
    for (number, name), (following, _) in itertools.pairwise(known):
        # What is between two known names begins as the first of them.
        names += [] if number < 0 else [name]
        start = name.partition('_')[0]
        names += [f'{start}_99{place:03d}_000_99{place:03d}_020' for place in range(following - number - 1)]
    return sorted(names)
