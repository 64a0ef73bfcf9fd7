"""One frame of a Waymo segment, as it was published, whatever the format of the file.

Readers make these, the converter takes them. Everything is as Waymo has it: nothing is turned, undistorted or decoded,
apart from the compression of range images.

Frames of reference: the vehicle is x forward, y left, z up, with its origin on the road below the middle of the rear
axle; cameras are x forward (along the line of sight), y left, z up, too. Matrices ``a2b`` ``(4, 4)`` float64 map points
of frame a to frame b, in meters. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# In the order of Waymo's numbers, from 1.
CAMERAS = ('FRONT', 'FRONT_LEFT', 'FRONT_RIGHT', 'SIDE_LEFT', 'SIDE_RIGHT')
LASERS = ('TOP', 'FRONT', 'SIDE_LEFT', 'SIDE_RIGHT', 'REAR')
# In the order of Waymo's numbers, from 0.
OBJECT_TYPES = ('unknown', 'vehicle', 'pedestrian', 'sign', 'cyclist')
SHUTTER_DIRECTIONS = (
    *('UNKNOWN', 'TOP_TO_BOTTOM', 'LEFT_TO_RIGHT', 'BOTTOM_TO_TOP', 'RIGHT_TO_LEFT'),
    'GLOBAL_SHUTTER',
)


@dataclass(frozen=True)
class CameraCalibration:
    """Where a camera is and what it sees.

    Attributes:
        camera2vehicle: ``(4, 4)``; the camera is x forward.
        intrinsics: ``(3, 3)`` pinhole matrix, pixels.
        distortion: ``(5,)`` k1 k2 p1 p2 k3, as OpenCV has them.
        height, width: of the image, pixels.
        shutter_direction: one of :data:`SHUTTER_DIRECTIONS`.
    """

    camera2vehicle: np.ndarray
    intrinsics: np.ndarray
    distortion: np.ndarray
    height: int
    width: int
    shutter_direction: str = 'UNKNOWN'


@dataclass(frozen=True)
class LaserCalibration:
    """Where a laser is and how its beams are inclined.

    Attributes:
        laser2vehicle: ``(4, 4)``.
        inclination_range: the lowest and highest inclination, radians; the borders of the lowest and highest row.
        inclinations: ``(rows,)`` of each row, radians, the lowest first; None where they are spread evenly.
    """

    laser2vehicle: np.ndarray
    inclination_range: tuple[float, float]
    inclinations: np.ndarray | None = None


@dataclass(frozen=True)
class LaserReturns:
    """What one laser measured in one turn.

    Attributes:
        range_images: one or two ``(H, W, 4)`` float32, of the first and the second return: range in meters (not above
            0: nothing), intensity, elongation, 1 in a no-label zone (elsewhere -1). The highest beam comes first.
        pixel_poses: ``(H, W, 6)`` float32 vehicle to global when each pixel was measured: roll, pitch, yaw (radians),
            x, y, z (meters); the same for both returns. None: the pose of the frame holds for all pixels.
        camera_projections: ``(H, W, 6)`` int32 of the first return, twice camera number, column and row; 0: in no
            camera. None: not there, or not asked for.
    """

    range_images: Sequence[np.ndarray]
    pixel_poses: np.ndarray | None = None
    camera_projections: np.ndarray | None = None


@dataclass(frozen=True)
class Shutter:
    """When a camera took an image: its columns (or rows) are exposed one after the other.

    Attributes:
        exposure: how long each is exposed, seconds.
        trigger_time: when the first began to be exposed.
        readout_done_time: when the last was read.
    """

    exposure: float
    trigger_time: float
    readout_done_time: float


@dataclass(frozen=True)
class ImageBox:
    """A box in an image.

    Attributes:
        center: column and row of its middle, pixels of the image as it is.
        size: width and height, pixels.
        type: one of :data:`OBJECT_TYPES`.
        token: name of the object; of a projected box, that of the box in space and the camera.
    """

    center: tuple[float, float]
    size: tuple[float, float]
    type: str
    token: str


@dataclass(frozen=True)
class Panoptic:
    """Segmentation of an image.

    Attributes:
        png: file of 16 bits: class times ``divisor`` plus number of the object in the image.
        divisor: see above.
        sequence: name of the sequence whose objects are numbered together.
        global_ids: number of an object in the image -> its number in the sequence.
    """

    png: bytes
    divisor: int
    sequence: str
    global_ids: dict[int, int]


@dataclass(frozen=True)
class CameraImage:
    """An image and when and where it was taken.

    Attributes:
        jpeg: the file.
        vehicle2global: ``(4, 4)`` pose of the vehicle at ``timestamp``.
        timestamp: time of the pose, in the middle of the shutter's run.
        velocity: ``(6,)`` of the vehicle at ``timestamp`` in the global frame: m/s along x, y, z, rad/s about them.
        shutter: its run; None where unknown.
        boxes: drawn in the image by hand.
        projected_boxes: around the projections of the boxes in space.
        panoptic: segmentation; few frames have it.
    """

    jpeg: bytes
    vehicle2global: np.ndarray
    timestamp: float
    velocity: np.ndarray | None = None
    shutter: Shutter | None = None
    boxes: Sequence[ImageBox] = ()
    projected_boxes: Sequence[ImageBox] = ()
    panoptic: Panoptic | None = None


@dataclass(frozen=True)
class Box:
    """A box in space, in the vehicle's frame at the pose of the frame.

    Attributes:
        center: x, y, z of its middle, meters.
        size: length, width, height, meters.
        heading: turn of its length from x to y, radians.
        type: one of :data:`OBJECT_TYPES`.
        token: name of the object in its segment.
        velocity: m/s along x and y of the *global* frame (as in the data, whatever the documentation says: there the
            velocity of walkers and cars then lies along their heading); None where unknown.
        points: how many LiDAR points are in it.
    """

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    heading: float
    type: str
    token: str
    velocity: tuple[float, float] | None = None
    points: int = 0


@dataclass(frozen=True)
class Frame:
    """One turn of the top laser, and the images that belong to it.

    Attributes:
        segment: name of the segment, such as ``1024360143612057520_3580_000_3600_000``.
        timestamp: when the turn began, seconds; a turn takes 0.1 s.
        vehicle2global: ``(4, 4)`` pose in the middle of the turn.
        cameras: calibrations by name (:data:`CAMERAS`).
        images: images by name.
        lasers: calibrations by name (:data:`LASERS`).
        returns: measurements by name; empty where LiDAR is left out of the data.
        boxes: in space.
        attributes: of the segment, such as ``time_of_day``, ``location``, ``weather``.
    """

    segment: str
    timestamp: float
    vehicle2global: np.ndarray
    cameras: dict[str, CameraCalibration]
    images: dict[str, CameraImage]
    lasers: dict[str, LaserCalibration] = field(default_factory=dict)
    returns: dict[str, LaserReturns] = field(default_factory=dict)
    boxes: Sequence[Box] = ()
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a reader is to read; the rest need not be decompressed.

    Attributes:
        cameras: names of the cameras.
        returns: how many returns of the lasers: 0, 1 or 2.
        camera_projections: whether :attr:`LaserReturns.camera_projections` are wanted.
    """

    cameras: Sequence[str] = CAMERAS
    returns: int = 1
    camera_projections: bool = False
