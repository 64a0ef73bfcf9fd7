"""Read a folder of images and ``cameras.json`` as ``Views``, and write such a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ...geometry.cameras import Cameras
from ...geometry.views import Views
from ...utils.errors import InputError, warn
from ...utils.files import atomic_path, file_stems, is_file, save_json
from ..image_files import HINT, IMAGE_SUFFIXES, UPRIGHT, exposure_doubt, read_header, read_image, resize, to_rgb
from ..rig_checks import MOST_MISNAMED, degrees_off_name, lonely_cameras
from .calibration import FILE_NAME, ORIGIN_HEIGHT, Calibration, read_calibrations

# Images whose shape differs by no more than this are resized as they are, like those of data sets; others are cropped.
SHAPE_TOLERANCE = 0.03


def read_folder(folder: str | os.PathLike, image_size: tuple[int, int], undistort: bool = False) -> Views:
    """Read the images of a folder as input views of the network.

    Every image is resized to ``image_size``. Where its shape differs by more than 3 %, it is cropped first, by the same
    amount on both sides. Its intrinsics follow. Warnings tell of cropped images, of cameras that see nothing that
    another one sees, of images that are nearly black or white, and of orientation tags, which are ignored.

    Args:
        folder: folder of images and ``cameras.json`` (``docs/OWN_DATA.md``).
        image_size: (height, width) that the network works with.
        undistort: undo the distortion of the lenses.

    Returns:
        V views in the order of the file, float32, in the network's world.

    Raises:
        InputError: names the file and the camera, what is wrong and the hint.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; give one of images and {FILE_NAME}, see docs/OWN_DATA.md')
    calibrations = read_calibrations(folder)
    _compare_names(folder, calibrations)
    image_size = height, width = int(image_size[0]), int(image_size[1])
    images, matrices, whole = [], [], []
    for calibration in calibrations:
        image, matrix = _load(calibration, undistort)
        if doubt := exposure_doubt(image):
            _report(calibration, f'{calibration.image.name} is {doubt}; {HINT}')
        whole.append(_resized(matrix, image, image_size))
        image, matrix = _crop(image, matrix, height / width, calibration)
        images.append(to_rgb(resize(image, height, width)))
        matrices.append(_resized(matrix, image, image_size))
    poses = torch.from_numpy(np.stack([calibration.cam2world for calibration in calibrations]))
    for number in lonely_cameras(Cameras(torch.stack(whole), poses, height, width)):
        _report(calibrations[number], 'sees nothing that another camera sees; if it should, correct its calibration')
    cameras = Cameras(torch.stack(matrices).float(), poses.float(), height, width)
    names = tuple(calibration.name for calibration in calibrations)
    return Views(torch.from_numpy(np.stack(images)), cameras, names, (0,) * len(names))


def _compare_names(folder: Path, calibrations: Sequence[Calibration]) -> None:
    """Warn of cameras that do not look where their names say, and of images with the name of another camera.

    Raises:
        InputError: two cameras with one image.
    """
    of_image: dict[Path, Calibration] = {}
    names = {calibration.name for calibration in calibrations}
    for calibration in calibrations:
        other = of_image.setdefault(calibration.image.resolve(), calibration)
        if other is not calibration:
            raise InputError(
                f'{calibration.where}: has the image of camera {other.name}, {calibration.image}; give each its own'
            )
        off = degrees_off_name(calibration.name, calibration.cam2world[:3, 2])
        if off > MOST_MISNAMED:
            _report(
                calibration, f'looks {off:.0f} degrees off the direction of its name; compare image and calibration'
            )
        stem = calibration.image.stem
        if stem != calibration.name and stem in names:
            _report(calibration, f'its image {calibration.image.name} has the name of another camera')


def tell_of_unused_images(folder: Path) -> None:
    """Warn of images of a folder that no camera has: a camera may be missing in its file."""
    used = {calibration.image.resolve() for calibration in read_calibrations(folder)}
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if unused := [path for path in images if path.resolve() not in used]:
        warn(f'{folder}: {len(unused)} images belong to no camera of {FILE_NAME}, first {unused[0].name}: left out')


def _resized(intrinsics: np.ndarray, image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Return the intrinsics ``(3, 3)`` of an image that is resized to ``size``."""
    camera = Cameras(torch.from_numpy(intrinsics), torch.eye(4, dtype=torch.float64), *image.shape[:2])
    return camera.resized(*size).intrinsics


def _load(calibration: Calibration, undistort: bool) -> tuple[np.ndarray, np.ndarray]:
    """Read the image ``(H, W, 3)`` of a camera, in OpenCV's order, without distortion; and its intrinsics."""
    where = calibration.where
    if not is_file(calibration.image):
        raise InputError(f'{where}: {calibration.image}: no such file; {_image_hint(calibration.image)}')
    try:
        image, orientation = read_image(calibration.image), read_header(calibration.image).orientation
    except InputError as error:
        raise InputError(f'{where}: {error}') from error
    found, size = image.shape[:2], (calibration.height, calibration.width)
    if found != size:
        raise InputError(
            f'{where}: the calibration is for {size[1]}x{size[0]}, but {calibration.image} is {found[1]}x{found[0]}; '
            'give the image that was calibrated, or scale width, height and intrinsics together'
        )
    if orientation != UPRIGHT:
        _report(
            calibration,
            f'{calibration.image.name} has the orientation tag {orientation} (EXIF); its pixels are taken as they are '
            'stored, for which calibrations hold: turn the file if yours does not',
        )
    if calibration.distortion is None:
        return image, calibration.intrinsics
    if not undistort:
        raise InputError(
            f'{where}: has a lens distortion, and the network expects straight lines; add --undistort '
            '(read_folder(..., undistort=True)), or remove distortion if the image is undistorted already'
        )
    return calibration.distortion.undo(image, calibration.intrinsics, where)


def _image_hint(path: Path) -> str:
    """Say what to do about an image that does not exist."""
    hint = f'correct image in {FILE_NAME}, a file relative to the folder'
    if not path.parent.is_dir():
        return hint
    alike = [other.name for other in path.parent.iterdir() if other.stem.casefold() == path.stem.casefold()]
    return f'{hint}; did you mean {min(alike)}?' if alike else hint


def _crop(
    image: np.ndarray, intrinsics: np.ndarray, shape: float, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray]:
    """Crop an image to the aspect ``shape`` = height / width around its middle; return it and its intrinsics."""
    height, width = image.shape[:2]
    if abs(height / width / shape - 1) <= SHAPE_TOLERANCE:
        return image, intrinsics
    rows, columns = min(height, round(width * shape)), min(width, round(height / shape))
    top, left = (height - rows) // 2, (width - columns) // 2
    _report(calibration, f'its {width}x{height} are cut to {columns}x{rows}, the shape that the network works with')
    moved = intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    return image[top : top + rows, left : left + columns], moved


def _report(calibration: Calibration, message: str) -> None:
    """Warn of something about a camera."""
    warn(f'{calibration.where}: {message}')


def write_folder(views: Views, folder: str | os.PathLike) -> Path:
    """Write views of one instant as a folder that :func:`read_folder` reads: PNG images and ``cameras.json``.

    Returns:
        the folder.

    Raises:
        ValueError: two views of one name.
        InputError: nothing can be written there.
    """
    if len(set(views.names)) < len(views):
        raise ValueError(f'two views have one name: {", ".join(views.names)}')
    folder, cameras = Path(folder), views.cameras
    records = []
    stems = file_stems(views.names)
    for number, (name, stem, image) in enumerate(zip(views.names, stems, views.images, strict=True)):
        pixels = (image.detach().float().clamp(0, 1).movedim(0, -1) * 255).round().byte().cpu().numpy()
        with atomic_path(folder / f'{stem}.png') as temporary:
            if not cv2.imwrite(str(temporary), pixels[..., ::-1]):
                raise InputError(f'{folder / stem}.png: could not be written; make room, or choose another folder')
        records.append(
            {
                'name': name,
                'image': f'{stem}.png',
                'width': cameras.width,
                'height': cameras.height,
                'intrinsics': cameras.intrinsics[number].double().tolist(),
                'cam2vehicle': cameras.cam2world[number].double().tolist(),
            }
        )
    content = {'frame': 'rfu', 'origin_height': ORIGIN_HEIGHT, 'cameras': records}
    save_json(folder / FILE_NAME, content, indent=1)
    return folder
