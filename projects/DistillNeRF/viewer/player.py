"""A camera on a trajectory."""

from __future__ import annotations

import numpy as np

from ..geometry.trajectories import trajectory


class Player:
    """Goes through the motions of a trajectory, round and round, from wherever it is started.

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
        """Let the present motion be where a camera ``(4, 4)`` is; the others follow from there."""
        self._start = np.linalg.inv(self._motions[self.index]) @ cam2world

    def step(self) -> np.ndarray:
        """Go to the next motion: the pose ``(4, 4)`` of the camera there."""
        self.index = (self.index + 1) % len(self)
        return self._motions[self.index] @ self._start
