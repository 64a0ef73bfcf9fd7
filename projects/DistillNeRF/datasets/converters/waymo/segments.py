"""Convert one segment: its images, points and segmentation as files, its records as a pickle beside them.

The pickle is written last. As long as the segment's file, the settings and the files that it lists are the same, a
second run takes the segment as it is. Names of files tell images and points of different settings apart, so that an
info file of before never names what it was not made with.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ....utils.errors import InputError
from ....utils.files import atomic_path
from ...infos import Info, read_pickle
from ..common import DOWNLOAD_AGAIN
from .formats import reader
from .frames import CAMERAS, CameraCalibration, Frame, LaserCalibration, Wanted
from .plausibility import CAMERA, check_lasers
from .range_images import frame_points
from .records import VEHICLE2LIDAR, Lens, check_cameras, frame_record, image_record, points_record

# Folder of all segments, below the output folder.
FOLDER = 'kitti_format'
STATE = 'segment.pkl'
# Count up when the same segment gives other files or records than before.
VERSION = 1
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Settings:
    """What is made of a segment.

    Attributes:
        cameras: names of the cameras.
        every: every how many-th frame.
        returns: how many returns of the lasers; 0 leaves LiDAR out.
        undistort: whether images become those of pinhole cameras, rather than stay as they are, byte by byte.
    """

    cameras: tuple[str, ...] = CAMERAS
    every: int = 1
    returns: int = 1
    undistort: bool = False


@dataclass(frozen=True)
class Segment:
    """A segment to convert.

    Attributes:
        name: its name in Waymo.
        path: its file (:func:`.formats.find_files`).
        out_dir: folder of the info files.
        settings: what to make of it.
    """

    name: str
    path: Path
    out_dir: Path
    settings: Settings

    @property
    def folder(self) -> Path:
        """Where its files go."""
        return self.out_dir / FOLDER / self.name

    def source(self) -> Info:
        """Return what its files are made from: they are made again if anything of it changes."""
        files = {path: path.stat() for path in reader(self.path).source_files(self.path)}
        return {
            'version': VERSION,
            'files': {path.parent.name: (status.st_size, status.st_mtime_ns) for path, status in files.items()},
            **asdict(self.settings),
        }


def convert_segment(segment: Segment, bar: bool = False) -> Path:
    """Convert a segment unless that was done before; return the pickle of its records.

    Args:
        segment: the segment.
        bar: show how many of its frames are done.

    Raises:
        InputError: names the file and the record that is wrong, or could not be written.
    """
    state = segment.folder / STATE
    if finished_records(segment) is None:
        writer = _Writer(segment)
        _check_first(segment)
        count = reader(segment.path).count_frames(segment.path)
        total = len(range(0, count, segment.settings.every))
        infos = [
            writer.write(frame, number)
            for number, frame in tqdm(_frames(segment), total=total, desc=segment.name[:12], disable=not bar)
        ]
        with atomic_path(state) as temporary:
            content = {'source': segment.source(), 'files': writer.sizes, 'infos': infos}
            temporary.write_bytes(pickle.dumps(content, protocol=4))
    return state


def finished_records(segment: Segment) -> list[Info] | None:
    """Return the records of a segment that was converted with these settings; None if it was not, or files lack."""
    try:
        content = read_pickle(segment.folder / STATE, DOWNLOAD_AGAIN)
        if content['source'] != segment.source():
            return None
        if any((segment.folder / name).stat().st_size != size for name, size in content['files'].items()):
            return None
        return content['infos']
    except (InputError, OSError, KeyError, TypeError):
        return None


def _check_first(segment: Segment) -> None:
    """Warn if the points of the first frame contradict what else is known of it."""
    if segment.settings.returns:
        wanted = Wanted((CAMERA,), returns=1, camera_projections=True)
        form = reader(segment.path)
        number, frame = next(form.read_frames(segment.path, wanted))
        check_lasers(frame, form.frame_label(segment.path, number, frame.timestamp))


def _frames(segment: Segment) -> Iterator[tuple[int, Frame]]:
    settings = segment.settings
    wanted = Wanted(settings.cameras, settings.returns)
    form = reader(segment.path)
    for number, frame in form.read_frames(segment.path, wanted, settings.every):
        if frame.segment != segment.name:
            where = form.frame_label(segment.path, number, frame.timestamp)
            raise InputError(
                f'{where}: is of segment {frame.segment}, not of {segment.name} as the file should be; {DOWNLOAD_AGAIN}'
            )
        yield number, frame


class _Writer:
    """Writes the files of a segment and makes its records.

    Attributes:
        sizes: bytes of each file, by its name in the segment's folder.
    """

    def __init__(self, segment: Segment) -> None:
        self.sizes: dict[str, int] = {}
        self._segment = segment
        self._lenses: dict[str, Lens] = {}
        self._lasers: dict[str, LaserCalibration] = {}

    def write(self, frame: Frame, number: int) -> Info:
        """Write images and points of a frame; return its record."""
        path = self._segment.path
        where = reader(path).frame_label(path, number, frame.timestamp)
        try:
            check_cameras(frame, self._segment.settings.cameras, where)
            images = {camera: self._image(frame, number, camera, where) for camera in self._segment.settings.cameras}
            return frame_record(frame, number, images, self._points(frame, number, where))
        except InputError as error:
            raise error if str(error).startswith(where) else InputError(f'{where}: {error}') from error

    def _lens(self, frame: Frame, camera: str, where: str) -> Lens:
        """Return the lens of a camera; a segment has one calibration."""
        if camera not in self._lenses:
            label = f'{where}: camera {camera}'
            self._lenses[camera] = Lens.of(frame.cameras[camera], self._segment.settings.undistort, label)
        lens, calibration = self._lenses[camera], frame.cameras[camera]
        _check_same(calibration, lens.calibration, f'{where}: camera {camera}')
        return lens

    def _image(self, frame: Frame, number: int, camera: str, where: str) -> Info:
        image, lens, index = frame.images[camera], self._lens(frame, camera, where), CAMERAS.index(camera)
        undone = 'undistorted' if lens.undistortion is not None else ''
        content, panoptic = image.jpeg, image.panoptic.png if image.panoptic else b''
        if lens.undistortion is not None:
            content = _recoded(content, lens, '.jpg', f'{where}: camera {camera}')
            panoptic = _recoded(panoptic, lens, '.png', f'{where}: camera {camera}') if panoptic else b''
        path = self._write(f'{undone or "image"}_{index}/{number:03d}.jpg', content)
        name = f'{undone}_panoptic'.lstrip('_')
        panoptic_path = self._write(f'{name}_{index}/{number:03d}.png', panoptic) if panoptic else None
        return image_record(frame, camera, lens, path, panoptic_path)

    def _points(self, frame: Frame, number: int, where: str) -> Info | None:
        """Write the points of a frame; None where it has no LiDAR."""
        returns = self._segment.settings.returns
        if not frame.returns:
            return None
        if silent := [name for name in frame.lasers if name not in frame.returns]:
            raise InputError(f'{where}: has measurements of lasers, but none of {", ".join(silent)}; {DOWNLOAD_AGAIN}')
        for name, laser in frame.lasers.items():
            _check_same(laser, self._lasers.setdefault(name, laser), f'{where}: laser {name}')
        points = frame_points(frame, returns, where, VEHICLE2LIDAR)
        if not len(points.values):
            raise InputError(f'{where}: its lasers measured nothing; {DOWNLOAD_AGAIN}')
        if not np.isfinite(points.values[:, :3]).all():
            raise InputError(f'{where}: a point of its lasers is not finite; {DOWNLOAD_AGAIN}')
        folder = 'lidar' if returns == 1 else f'lidar_{returns}_returns'
        return points_record(points, self._write(f'{folder}/{number:03d}.bin', points.values))

    def _write(self, name: str, content: bytes | np.ndarray) -> str:
        """Write a file of the segment's folder; return its path relative to the output folder."""
        target = self._segment.folder / name
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)
        self.sizes[name] = memoryview(content).nbytes
        return target.relative_to(self._segment.out_dir).as_posix()


def _check_same(
    found: CameraCalibration | LaserCalibration, before: CameraCalibration | LaserCalibration, where: str
) -> None:
    """Check that a calibration is that of the frames before: a segment has one."""
    for field in fields(found):
        if not np.array_equal(getattr(found, field.name), getattr(before, field.name)):
            raise InputError(f'{where} has other {field.name} than before; {DOWNLOAD_AGAIN}')


def _recoded(content: bytes, lens: Lens, suffix: str, where: str) -> bytes:
    """Decode an image, undo its distortion and encode it again."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    calibration = lens.calibration
    if image is None or image.shape[:2] != (calibration.height, calibration.width):
        found = 'cannot be decoded' if image is None else f'is {image.shape[1]}x{image.shape[0]}'
        raise InputError(
            f'{where}: its image {found}; its calibration says {calibration.width}x{calibration.height}; '
            f'{DOWNLOAD_AGAIN}'
        )
    assert lens.undistortion is not None
    options: Sequence[int] = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == '.jpg' else []
    return cv2.imencode(suffix, lens.undistortion.image(image, labels=suffix == '.png'), options)[1].tobytes()
