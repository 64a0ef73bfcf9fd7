"""What all converters share: links between keyframes, image sizes, camera records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...geometry.poses import inverse_pose
from ...utils.errors import InputError, warn
from ..image_files import UPRIGHT, Header, read_header, read_image, warn_of_exposure
from ..infos import Info
from ..teacher_files import feature_path, image_stem, teacher_path

DOWNLOAD_AGAIN = 'restore it from the data set'
# The ring is cut between the camera to the front left and that to the left: degrees from straight ahead, clockwise.
RING_START = -75.0
# How many make a second.
TIME_UNITS = {'seconds': 1.0, 'milliseconds': 1e3, 'microseconds': 1e6, 'nanoseconds': 1e9}
# Seconds between keyframes; the ranges of the four units do not overlap.
USUAL_STEP = (0.02, 5.0)
# Seconds since 1970 are between these from 1973 to 2286.
SINCE_1970 = (1e8, 1e10)


def image_size(path: Path) -> tuple[int, int]:
    """Read (height, width) from the header of an image file."""
    header = read_header(path, DOWNLOAD_AGAIN)
    return header.height, header.width


def camera_record(
    camera: str,
    img_path: str,
    size: tuple[int, int],
    cam2img: np.ndarray,
    cam2global: np.ndarray,
    lidar2global: np.ndarray,
    ego2global: np.ndarray,
    timestamp: float,
    scene: str | None = None,
) -> Info:
    """Make the record of one image.

    Args:
        camera: name of the camera.
        img_path: image file relative to the image root.
        size: (height, width) in pixels.
        cam2img: ``(3, 3)`` pinhole matrix.
        cam2global: ``(4, 4)`` pose of the camera when the image was taken.
        lidar2global: ``(4, 4)`` pose of the LiDAR at the keyframe.
        ego2global: ``(4, 4)`` pose of the vehicle when the image was taken.
        timestamp: seconds.
        scene: its name, where image names of two scenes can be the same (:mod:`..teacher_files`).
    """
    stem = image_stem(img_path, scene)
    return {
        'img_path': img_path,
        'height': size[0],
        'width': size[1],
        'timestamp': timestamp,
        'cam2img': cam2img.tolist(),
        'cam2ego': (inverse_pose(ego2global) @ cam2global).tolist(),
        'cam2global': cam2global.tolist(),
        'lidar2cam': (inverse_pose(cam2global) @ lidar2global).tolist(),
        'teacher': {kind: teacher_path(kind, camera, stem) for kind in ('depth', 'sky_mask')},
        'features': feature_path(camera, stem),
    }


def sweep_record(measurement: Info, lidar2sensor: np.ndarray) -> Info:
    """Make an entry of ``lidar_sweeps``.

    Args:
        measurement: ``timestamp``, ``ego2global``, ``lidar2global`` and ``lidar_points`` of the sweep.
        lidar2sensor: ``(4, 4)`` LiDAR frame of the keyframe -> LiDAR frame of the sweep.
    """
    record = {key: measurement[key] for key in ('timestamp', 'ego2global', 'lidar2global')}
    return {**record, 'lidar_points': {**measurement['lidar_points'], 'lidar2sensor': lidar2sensor.tolist()}}


def number_samples(infos: Sequence[Info]) -> None:
    """Set ``sample_idx`` of each record of an info file to its position."""
    for index, info in enumerate(infos):
        info['sample_idx'] = index


def link_frames(infos: Sequence[Info], step: int = 1) -> None:
    """Set ``prev`` and ``next`` of each record to the token ``step`` frames away in its scene, None at the ends."""
    tokens = {(info['scene'], info['frame']): info['token'] for info in infos}
    for info in infos:
        info['prev'] = tokens.get((info['scene'], info['frame'] - step))
        info['next'] = tokens.get((info['scene'], info['frame'] + step))


def choose_cameras(there: Sequence[str], wanted: Sequence[str] | None, where: str | Path) -> tuple[str, ...]:
    """Choose the cameras to convert: those wanted, else all that are there.

    Args:
        there: names of the cameras of a data set or sequence.
        wanted: names given with ``--cameras``; None takes all.
        where: the data set or sequence, for messages.

    Raises:
        InputError: no camera is there, or a wanted one is not, or one is wanted twice.
    """
    if not there:
        raise InputError(f'{where}: holds no camera; {DOWNLOAD_AGAIN}')
    if wanted is None:
        return tuple(there)
    if unknown := [name for name in wanted if name not in there]:
        raise InputError(f'{where}: has no camera {unknown[0]}; give --cameras some of {", ".join(there)}')
    if twice := [name for name, count in Counter(wanted).items() if count > 1]:
        raise InputError(f'--cameras names {twice[0]} twice; name it once')
    return tuple(name for name in there if name in wanted)


def ring_order(infos: Iterable[Info]) -> tuple[str, ...]:
    """List the names of all cameras of the records, clockwise as seen from above, from the front left on.

    The directions are those of the optical axes in the LiDAR frame (x right, y forward) in the first record that has
    the camera. The standard rigs of six come out as front left, front, front right, back right, back, back left; a
    part of a rig keeps the order that it has in the whole.
    """
    clockwise: dict[str, float] = {}
    for info in infos:
        for camera, image in info['images'].items():
            if camera not in clockwise:
                right, forward = np.asarray(image['lidar2cam'], dtype=np.float64)[2, :2]
                clockwise[camera] = (np.degrees(np.arctan2(right, forward)) - RING_START) % 360
    return tuple(sorted(clockwise, key=clockwise.__getitem__))


def common_cameras(infos: Sequence[Info], where: str | Path) -> tuple[str, ...]:
    """List the cameras that every record has, in ring order, and warn of the others.

    Raises:
        InputError: no camera is in all records.
    """
    counts = Counter(camera for info in infos for camera in info['images'])
    order = ring_order(infos)
    common = tuple(camera for camera in order if counts[camera] == len(infos))
    if not common:
        few = min(order, key=counts.__getitem__)
        raise InputError(
            f'{where}: no camera is in all of its {len(infos)} samples ({few} in {counts[few]} of them); '
            'convert sequences with the same cameras, or choose some with --cameras'
        )
    if rest := [f'{camera} ({counts[camera]})' for camera in order if camera not in common]:
        warn(
            f'{where}: only some of its {len(infos)} samples have {", ".join(rest)}: the info file names the other '
            f'{len(common)} cameras, which all samples have'
        )
    return common


def same_cameras(infos: Sequence[Info], where: str | Path) -> tuple[str, ...]:
    """List the cameras of all records, in ring order.

    Raises:
        InputError: some records lack cameras that others have.
    """
    order = ring_order(infos)
    counts = Counter(camera for info in infos for camera in info['images'])
    partial = [f'{camera} (in {counts[camera]})' for camera in order if counts[camera] < len(infos)]
    if not partial:
        return order
    info = next(info for info in infos if len(info['images']) < len(order))
    absent = [camera for camera in order if camera not in info['images']]
    common = [camera for camera in order if counts[camera] == len(infos)]
    hint = f'choose those that all have: --cameras {" ".join(common)}' if common else 'convert them apart'
    raise InputError(
        f'{where}: sample {info["token"]} has no {", ".join(absent)}; not all of the {len(infos)} samples have '
        f'{", ".join(partial)}; {DOWNLOAD_AGAIN}, or {hint}'
    )


def units_per_second(times: Sequence[float], steps: Sequence[float], expected: str, where: str | Path) -> float:
    """Return how many units of ``times`` make a second, and warn where it is not the expected unit.

    Args:
        times: times of the keyframes.
        steps: times from keyframe to keyframe, in the same unit.
        expected: name of the usual unit, which is taken where the times tell nothing.
        where: the file, for messages.
    """
    low, high = USUAL_STEP
    step = float(np.median(steps)) if len(steps) else 0.0
    found = [name for name, count in TIME_UNITS.items() if low <= step / count <= high]
    if not found:
        latest, (low, high) = max(map(abs, times)), SINCE_1970
        found = [name for name, count in TIME_UNITS.items() if low <= latest / count < high]
    unit = found[0] if found else expected
    if unit != expected:
        warn(f'{where}: its time stamps are {unit} rather than {expected}, and converted as such')
    return TIME_UNITS[unit]


# Images of every camera, spread evenly over a split, whose brightness is looked at.
EXPOSURE_SAMPLES = 4


def check_images(root: Path, infos: Sequence[Info], where: str | Path, workers: int = 1) -> None:
    """Compare every image file with the size in its record, and look at the brightness of a few of keyframes.

    Every reader ignores orientation tags; a warning counts the images that have one.

    Args:
        root: folder that the paths of the records are relative to.
        infos: records of a split.
        where: name of the split, for the warnings.
        workers: threads.

    Raises:
        InputError: an image that is missing or damaged, of another size than its record, or with wrong values.
    """
    images = [image for info in infos for image in info['images'].values()]
    images += [image for info in infos for part in info.get('image_sweeps', {}).values() for image in part]
    turned = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        headers = pool.map(lambda image: _checked_header(root, image), images)
        for image, header in zip(images, tqdm(headers, total=len(images), desc='images'), strict=True):
            if header.orientation != UPRIGHT:
                turned.append(image['img_path'])
    if turned:
        warn(
            f'{where}: {len(turned)} of {len(images)} images have an orientation tag (EXIF), first {root / turned[0]}; '
            'their pixels are taken as they are stored, for which calibrations hold: turn the files if yours do not'
        )
    cameras = dict.fromkeys(camera for info in infos for camera in info['images'])
    few = np.unique(np.linspace(0, len(infos) - 1, EXPOSURE_SAMPLES).round().astype(int))
    chosen = [infos[i]['images'][camera] for i in few for camera in cameras if camera in infos[i]['images']]
    paths = [root / image['img_path'] for image in chosen]
    warn_of_exposure(((path, read_image(path)) for path in paths), where)


def _checked_header(root: Path, image: Info) -> Header:
    """Read the header of an image; raise :class:`InputError` if it contradicts the record or cannot be used."""
    path, recorded = root / image['img_path'], (image['height'], image['width'])
    header = read_header(path, DOWNLOAD_AGAIN)
    if (header.height, header.width) != recorded:
        raise InputError(
            f'{path}: the image is {header.width}x{header.height}, its record says {recorded[1]}x{recorded[0]}; '
            f'{DOWNLOAD_AGAIN}'
        )
    if header.deep:
        read_image(path)  # whether its values can be used
    return header
