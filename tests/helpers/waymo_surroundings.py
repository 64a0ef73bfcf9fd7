"""What a car of Waymo drives through: a street of boxes, which is fast, or MiniTown, which has everything.

Everything is told on a map, meters, z up; times are seconds since the start of a segment.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from projects.DistillNeRF.datasets.converters.waymo.frames import CameraCalibration
from projects.DistillNeRF.datasets.converters.waymo.records import CAMERA_AXES
from projects.MiniTown.world import Town
from tests.helpers.lidar_world import GROUND, HOUSE, PARKED, Street, moving_car

SPEED, TURN_RATE = 12.0, 0.3
# On the left, where the other boxes are not seen.
WALL = ((-16.0, -3.0, GROUND), (-13.0, 6.0, 3.0))
STREET = Street(lambda time: (HOUSE, PARKED, moving_car(time), WALL))
NOTHING = Street(lambda time: ())
# Number of its box in the street -> name; their length lies along y.
BOXES = {2: 'PARKED', 3: 'MOVING'}
# Colors (B, G, R) of sky, ground, house, parked and moving car and wall: far apart from each other.
PALETTE = np.array(
    [[250, 250, 250], [60, 60, 60], [40, 40, 220], [40, 220, 40], [220, 40, 40], [40, 220, 220]], np.uint8
)
# A town in which the car turns at a crossing, among cars that move, and when.
TOWN_SEED, TOWN_SECONDS, TOWN_START = 15, 5.0, 2.2
# Roll and pitch of the car, radians.
TILT = (0.012, -0.02)


class Hits(NamedTuple):
    """What beams meet, all ``(n,)``.

    Attributes:
        distance: in lengths of the beams; inf in the sky.
        behind: the same for what lies behind it; inf where nothing is told of.
        intensity: of the first.
        kind: number of what it is; -1 in the sky.
    """

    distance: np.ndarray
    behind: np.ndarray
    intensity: np.ndarray
    kind: np.ndarray


class MapBox(NamedTuple):
    """A box: its middle ``(3,)``, size (length, width, height), heading from x to y (radians) and velocity ``(2,)``."""

    token: str
    type: str
    center: np.ndarray
    size: tuple[float, float, float]
    heading: float
    velocity: tuple[float, float]
    points: int


class Surroundings(Protocol):
    """What a car drives through, and how."""

    def vehicle2map(self, time: float) -> np.ndarray:
        """Return the pose ``(4, 4)`` of the car."""

    def cast(self, origin: np.ndarray, beams: np.ndarray, time: float) -> Hits:
        """Return what beams ``(n, 3)`` from ``(3,)`` meet."""

    def boxes(self, time: float) -> list[MapBox]:
        """Return the boxes that are annotated."""

    def picture(self, camera: CameraCalibration, camera2map: np.ndarray, time: float) -> np.ndarray:
        """Return the image ``(h, w, 3)`` of a camera, BGR uint8."""


def pose(angles: tuple[float, float, float], position: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """Return ``(4, 4)`` of roll, pitch and yaw in radians, and a position."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler('xyz', angles).as_matrix()
    matrix[:3, 3] = position
    return matrix


def pixel_beams(camera: CameraCalibration) -> np.ndarray:
    """Return the beams ``(h * w, 3)`` of the pixels in the frame of a camera of Waymo, 1 long along its x."""
    v, u = np.mgrid[: camera.height, : camera.width]
    pixels = np.stack([u, v], -1).reshape(-1, 1, 2).astype(np.float64)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-10)
    flat = cv2.undistortPointsIter(pixels, camera.intrinsics, camera.distortion, None, None, criteria)[:, 0]
    return np.column_stack([np.ones(len(flat)), -flat[:, 0], -flat[:, 1]])


class BoxStreet:
    """Boxes on level ground; the car drives fast and turns, tilted a little. Intensities tell the kind."""

    def vehicle2map(self, time: float) -> np.ndarray:
        turn, radius = TURN_RATE * time, SPEED / TURN_RATE
        position = (radius * (np.cos(turn) - 1), radius * np.sin(turn), GROUND)
        return pose((*TILT, np.pi / 2 + turn), position)

    def cast(self, origin: np.ndarray, beams: np.ndarray, time: float) -> Hits:
        """A beam that meets a box has the ground behind it."""
        (distance, kind), (behind, _) = (street.cast(origin, beams, time) for street in (STREET, NOTHING))
        return Hits(distance, np.where(kind > 0, behind, np.inf), kind / 10, kind)

    def boxes(self, time: float) -> list[MapBox]:
        made = []
        for number, token in BOXES.items():
            low, high = np.array(STREET.boxes(time)[number - 1])
            width, length, height = high - low
            heading, velocity = (np.pi / 2, (0.0, 0.0)) if token == 'PARKED' else (-np.pi / 2, (0.0, -9.0))
            size = (length, width, height)
            made.append(MapBox(token, 'vehicle', (low + high) / 2, size, heading, velocity, number))
        return made

    def picture(self, camera: CameraCalibration, camera2map: np.ndarray, time: float) -> np.ndarray:
        kind = self.cast(camera2map[:3, 3], pixel_beams(camera) @ camera2map[:3, :3].T, time).kind
        return PALETTE[kind + 1].reshape(camera.height, camera.width, 3)


BOX_STREET = BoxStreet()


class TownDrive:
    """MiniTown: its car, tilted a little, turns at a crossing while others drive and walk. Kinds are its classes."""

    def __init__(self) -> None:
        self.town = Town(TOWN_SEED, TOWN_SECONDS)

    def vehicle2map(self, time: float) -> np.ndarray:
        return self.town.ego_pose(TOWN_START + time) @ pose((*TILT, 0.0), (0.0, 0.0, 0.0))

    def cast(self, origin: np.ndarray, beams: np.ndarray, time: float) -> Hits:
        """A beam that meets an object has, as its second hit, the next surface from a tenth of a meter behind it on."""
        distance, kind, things, intensity = self._first(np.broadcast_to(origin, beams.shape), beams, time)
        behind, objects = np.full(len(beams), np.inf), things >= 0
        start = distance[objects] + 0.1
        further = self._first(origin + start[:, None] * beams[objects], beams[objects], time)
        behind[objects] = start + further[0]
        return Hits(distance, behind, intensity, np.where(np.isfinite(distance), kind.astype(int), -1))

    def boxes(self, time: float) -> list[MapBox]:
        """Cars and people within 60 m."""
        made, here = [], self.vehicle2map(time)[:3, 3]
        for box in self.town.boxes(TOWN_START + time):
            kind = {'vehicle': 'vehicle', 'human': 'pedestrian'}.get(box.category.partition('.')[0])
            if kind and box.category != 'vehicle.bicycle' and np.linalg.norm(box.center - here) < 60:
                width, length, height = map(float, box.size)
                velocity = (float(box.velocity[0]), float(box.velocity[1]))
                made.append(MapBox(box.token, kind, box.center, (length, width, height), box.yaw, velocity, 1))
        return made

    def picture(self, camera: CameraCalibration, camera2map: np.ndarray, time: float) -> np.ndarray:
        """MiniTown has pinhole cameras: what one sees that sees all of it, bent by the lens."""
        beams, focal = pixel_beams(camera), camera.intrinsics[0, 0]
        flat = -focal * beams[:, 1:]
        corner = np.floor(flat.min(0)) - 1
        width, height = (np.ceil(flat.max(0)) - corner + 2).astype(int)
        pinhole = np.array([[focal, 0, -corner[0]], [0, focal, -corner[1]], [0, 0, 1]])
        image = self.town.render(pinhole, camera2map @ CAMERA_AXES, height, width, TOWN_START + time).rgb
        u, v = (flat - corner).reshape(camera.height, camera.width, 2).astype(np.float32).transpose(2, 0, 1)
        return cv2.cvtColor(cv2.remap(image, u, v, cv2.INTER_LINEAR), cv2.COLOR_RGB2BGR)

    def distance_bound(self, points: np.ndarray, times: np.ndarray, reach: float = 0.5) -> np.ndarray:
        """Return a bound ``(n,)`` of how far points ``(n, 3)`` are from the nearest surface at their times, meters.

        Each point looks for surfaces along lines in all directions: none that is found is nearer than the nearest.

        Args:
            points: on the map.
            times: ``(n,)``.
            reach: how far they look; also what is returned where nothing is found.
        """
        lines = np.random.default_rng(0).normal(size=(100, 3))
        lines /= np.linalg.norm(lines, axis=1, keepdims=True)
        bound = np.full(len(points), reach)
        for time in np.unique(times):
            chosen = np.flatnonzero(times == time)
            starts = points[chosen, None] - reach * lines
            found = self._first(starts.reshape(-1, 3), np.tile(lines, (len(chosen), 1)), time)[0]
            bound[chosen] = np.minimum(np.abs(found.reshape(len(chosen), -1) - reach).min(1), reach)
        return bound

    def _first(
        self, origins: np.ndarray, beams: np.ndarray, time: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Cast beams; distances in multiples of their lengths."""
        lengths = np.linalg.norm(beams, axis=1)
        distance, *rest = self.town.cast(origins, beams, TOWN_START + time)
        return distance / lengths, *rest
