"""A car of Waymo, with its sensors, as frames of a segment: every column of the top laser has a pose of its own."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from projects.DistillNeRF.datasets.converters.waymo.frames import (
    CAMERAS,
    Box,
    CameraCalibration,
    CameraImage,
    Frame,
    ImageBox,
    LaserCalibration,
    LaserReturns,
    Panoptic,
    Shutter,
)
from projects.DistillNeRF.geometry.poses import inverse_pose
from tests.helpers.waymo_surroundings import BOX_STREET, Surroundings, pixel_beams, pose

# The origin of the surroundings in the global frame, meters: as far off as Waymo's, where float32 is good to 4 mm.
OFFSET = np.array([-25211.25, 42391.0, -160.5])
START = 1553735853.4
# Where each camera looks (degrees to the left), where it is, and when it takes its image after the turn began.
_RIG = {
    'FRONT': (0.0, (1.54, -0.02, 2.12), 0.052),
    'FRONT_LEFT': (44.0, (1.49, 0.09, 2.12), 0.042),
    'FRONT_RIGHT': (-44.5, (1.49, -0.09, 2.12), 0.062),
    'SIDE_LEFT': (89.0, (1.43, 0.11, 2.12), 0.022),
    'SIDE_RIGHT': (-90.0, (1.43, -0.11, 2.12), 0.072),
}
_LASERS = {
    'TOP': (148.0, (1.43, 0.0, 2.18)),
    'FRONT': (0.3, (4.07, 0.0, 0.69)),
    'SIDE_LEFT': (89.0, (3.25, 1.02, 0.98)),
    'SIDE_RIGHT': (-92.0, (3.25, -1.02, 0.98)),
    'REAR': (178.0, (-1.16, 0.0, 0.46)),
}
DISTORTION = (0.04, -0.33, 0.001, -0.0015, 0.02)
# Columns of the top laser that lie in a no-label zone, and how far lasers see, meters.
NO_LABEL_COLUMNS, REACH = 5, 70.0


@dataclass(frozen=True)
class WaymoWorld:
    """A segment.

    Attributes:
        name: its name.
        rows, columns: of the range images of the top laser; the others have fewer.
        height, width: of the images that look to the front; those to the sides are lower.
        surroundings: what it drives through.
    """

    name: str = '1005081002024129653_5313_150_5333_150'
    rows: int = 24
    columns: int = 180
    height: int = 160
    width: int = 240
    surroundings: Surroundings = BOX_STREET

    def vehicle2global(self, time: float) -> np.ndarray:
        """Return the pose of the vehicle so many seconds after the start."""
        vehicle2global = self.surroundings.vehicle2map(time)
        vehicle2global[:3, 3] += OFFSET
        return vehicle2global

    def velocity(self, time: float, step: float = 1e-3) -> np.ndarray:
        """Return the velocity ``(6,)`` of the vehicle in the global frame: m/s, rad/s."""
        before, after = (self.vehicle2global(time + sign * step) for sign in (-1, 1))
        turn = Rotation.from_matrix(after[:3, :3] @ before[:3, :3].T).as_rotvec()
        return np.concatenate([after[:3, 3] - before[:3, 3], turn]) / (2 * step)

    def frame(self, number: int, lidar: bool = True) -> Frame:
        """Make a frame, whose turn begins ``number`` tenths of a second after the start."""
        begin, middle = 0.1 * number, 0.1 * number + 0.05
        lasers = {name: self.laser(name) for name in _LASERS}
        return Frame(
            segment=self.name,
            timestamp=START + begin,
            vehicle2global=self.vehicle2global(middle),
            cameras={name: self.camera(name) for name in CAMERAS},
            images={name: self.image(name, begin, number) for name in CAMERAS},
            lasers=lasers,
            returns={name: self.returns(name, middle) for name in _LASERS} if lidar else {},
            boxes=self.boxes(middle),
            attributes={'time_of_day': 'Day', 'location': 'location_sf', 'weather': 'sunny'},
        )

    def camera(self, name: str) -> CameraCalibration:
        """Return the calibration of a camera."""
        left, position, _ = _RIG[name]
        height = self.height if 'FRONT' in name else round(self.height * 0.69)
        focal = self.width * 2044.5 / 1920
        intrinsics = np.array([[focal, 0, self.width * 0.495], [0, focal, height * 0.5], [0, 0, 1]])
        camera2vehicle = pose([0.01, 0.005, np.radians(left)], position)
        return CameraCalibration(camera2vehicle, intrinsics, np.array(DISTORTION), height, self.width, 'LEFT_TO_RIGHT')

    def laser(self, name: str) -> LaserCalibration:
        """Return the calibration of a laser; that of the top one names the inclination of each row, unevenly."""
        left, position = _LASERS[name]
        laser2vehicle = pose([0.01, -0.015, np.radians(left)], position)
        if name != 'TOP':
            return LaserCalibration(laser2vehicle, (-np.pi / 2, np.pi / 6))
        given = -0.3 + 0.35 * np.linspace(0, 1, self.rows) ** 0.8
        return LaserCalibration(laser2vehicle, (given[0], given[-1]), given)

    def returns(self, name: str, middle: float) -> LaserReturns:
        """Measure with one laser."""
        laser, top = self.laser(name), name == 'TOP'
        rows, columns = (self.rows, self.columns) if top else (self.rows // 2, self.columns // 4)
        first, second = (np.full((rows, columns, 4), -1, np.float32) for _ in range(2))
        poses = np.zeros((rows, columns, 6), np.float32)
        for column in range(columns):
            share = (column + 0.5) / columns
            time = middle + 0.1 * (share - 0.5) if top else middle
            vehicle2global = self.vehicle2global(time)
            poses[:, column, :3] = Rotation.from_matrix(vehicle2global[:3, :3]).as_euler('xyz')
            poses[:, column, 3:] = vehicle2global[:3, 3]
            laser2global = vehicle2global @ laser.laser2vehicle
            directions = _beams(laser, rows, share) @ laser2global[:3, :3].T
            origin = laser2global[:3, 3] - OFFSET
            hits = self.surroundings.cast(origin, directions, time)
            for image, ranges in ((first, hits.distance), (second, hits.behind)):
                seen = ranges < REACH
                image[seen, column, 0] = ranges[seen]
                image[seen, column, 1] = hits.intensity[seen] if image is first else 0
                image[seen, column, 2] = 0.25
        if top:
            first[:, :NO_LABEL_COLUMNS, 3] = 1
        return LaserReturns([first, second], poses if top else None)

    def image(self, name: str, begin: float, number: int) -> CameraImage:
        """Take an image, all at once; that of the first frame has a segmentation."""
        time = begin + _RIG[name][2]
        camera = self.camera(name)
        picture = self.surroundings.picture(camera, self.camera2map(name, time), time)
        jpeg = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
        png = cv2.imencode('.png', ((self.surfaces(name, time)[0] + 1) * 1000).astype(np.uint16))[1].tobytes()
        return CameraImage(
            jpeg=jpeg,
            vehicle2global=self.vehicle2global(time),
            timestamp=START + time,
            velocity=self.velocity(time).astype(np.float32).astype(np.float64),
            shutter=Shutter(0.0025, START + time - 0.022, START + time + 0.022),
            boxes=[ImageBox((14.0, 12.0), (20.0, 10.0), 'pedestrian', 'drawn')],
            projected_boxes=[ImageBox((60.5, 70.0), (30.0, 12.0), 'vehicle', f'PARKED_{name}')],
            panoptic=Panoptic(png, 1000, 'sequence', {0: 7}) if number == 0 else None,
        )

    def camera2map(self, name: str, time: float) -> np.ndarray:
        """Return the pose ``(4, 4)`` of a camera."""
        return self.surroundings.vehicle2map(time) @ self.camera(name).camera2vehicle

    def surfaces(self, name: str, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the kind of what each pixel of a camera sees, and its depth along the camera's x, ``(h, w)`` each."""
        camera, camera2map = self.camera(name), self.camera2map(name, time)
        hits = self.surroundings.cast(camera2map[:3, 3], pixel_beams(camera) @ camera2map[:3, :3].T, time)
        return tuple(part.reshape(camera.height, camera.width) for part in (hits.kind, hits.distance))

    def boxes(self, time: float) -> list[Box]:
        """Return the boxes in the frame of the vehicle."""
        global2vehicle = inverse_pose(self.vehicle2global(time))
        yaw = np.arctan2(global2vehicle[1, 0], global2vehicle[0, 0])
        made = []
        for box in self.surroundings.boxes(time):
            center = global2vehicle[:3, :3] @ (box.center + OFFSET) + global2vehicle[:3, 3]
            heading = float(box.heading + yaw)
            made.append(Box(tuple(center.tolist()), box.size, heading, box.type, box.token, box.velocity, box.points))
        return made


def _beams(laser: LaserCalibration, rows: int, share: float) -> np.ndarray:
    """Return the unit directions ``(rows, 3)`` of a column in the frame of the laser, the highest first.

    Column 0 looks to the back of the vehicle, and those after it to its left, then to the front.
    """
    if laser.inclinations is None:
        low, high = laser.inclination_range
        up = np.array([low + (high - low) * (row + 0.5) / rows for row in reversed(range(rows))])
    else:
        up = np.array(list(reversed(laser.inclinations)))
    forward, side = laser.laser2vehicle[0, 0], laser.laser2vehicle[1, 0]
    around = np.pi - 2 * np.pi * share - np.arctan2(side, forward)
    return np.column_stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
