"""Move a browser's camera: jumps to viewpoints, and flights along trajectories."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from viser import ClientHandle

from ...geometry.trajectories import trajectory
from .scenes import Viewed
from .viewpoints import LOOK_DISTANCE, UP, Viewpoint, look_from

OUTSIDE = 'outside'
# Poses per second: the default, as in the videos, and the range of the slider.
DEFAULT_SPEED, SPEEDS = 10, (1, 30)


def jump_targets(viewed: Viewed) -> dict[str, Viewpoint]:
    """Return viewpoints to jump to: the cameras, and one behind and above them from which all are seen."""
    front = viewed.front
    behind = tuple(front.position - 14 * front.cam2world[:3, 2] + (0, 0, 8))
    ahead = tuple(front.position + 5 * front.cam2world[:3, 2])
    cameras = {name: Viewpoint.of_cameras(viewed.cameras, i) for i, name in enumerate(viewed.names)}
    outside = OUTSIDE
    while outside in cameras:
        outside += '_'
    return {**cameras, outside: look_from(behind, ahead, front.fov)}


def go_to(client: ClientHandle, cam2world: np.ndarray) -> None:
    """Move a browser's camera to a pose ``(4, 4)``, level; the browser answers with its new camera."""
    position = cam2world[:3, 3]
    with client.atomic():
        client.camera.up_direction = np.array(UP)
        client.camera.position = position
        client.camera.look_at = position + LOOK_DISTANCE * cam2world[:3, 2]


class Flight:
    """A trajectory that a browser's camera follows while it is played.

    Args:
        client: the browser.
        viewpoint: returns the present viewpoint of its camera.
        path: name or file of the first trajectory.
    """

    def __init__(self, client: ClientHandle, viewpoint: Callable[[], Viewpoint], path: str) -> None:
        self._client = client
        self._viewpoint = viewpoint
        self._cursor = TrajectoryCursor(path)
        self._stop = threading.Event()
        self._stop.set()
        self.speed = float(DEFAULT_SPEED)

    @property
    def playing(self) -> bool:
        """Return whether the camera moves."""
        return not self._stop.is_set()

    def choose(self, path: str) -> None:
        """Change the trajectory; it begins at its first motion and at the present camera."""
        playing = self.playing
        self.pause()
        self._cursor = TrajectoryCursor(path)
        if playing:
            self.play()

    def play(self) -> None:
        """Continue from the present camera."""
        if self.playing:
            return
        self._cursor.start(self._viewpoint().cam2world)
        # An event of its own for every start: a thread of an earlier one must not go on.
        self._stop = threading.Event()
        threading.Thread(target=self._fly, args=(self._stop, self._cursor), name='flight', daemon=True).start()

    def pause(self) -> None:
        """Stop the camera."""
        self._stop.set()

    def _fly(self, stop: threading.Event, cursor: TrajectoryCursor) -> None:
        while not stop.wait(1 / self.speed):
            go_to(self._client, cursor.step())


class TrajectoryCursor:
    """Step through the motions of a trajectory, round and round, from any camera pose.

    Args:
        path: name or file of a trajectory.
    """

    def __init__(self, path: str) -> None:
        self._motions = trajectory(path).numpy()
        self._start = np.eye(4)
        self.index = 0

    def __len__(self) -> int:
        return len(self._motions)

    def start(self, cam2world: np.ndarray) -> None:
        """Align the present motion with a camera pose ``(4, 4)``; the others follow from there."""
        self._start = np.linalg.inv(self._motions[self.index]) @ cam2world

    def step(self) -> np.ndarray:
        """Go to the next motion; return the camera pose ``(4, 4)`` there."""
        self.index = (self.index + 1) % len(self)
        return self._motions[self.index] @ self._start
