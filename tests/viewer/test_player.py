"""A camera on a trajectory, pose by pose."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.visualization.viewer.flight import Player
from projects.DistillNeRF.visualization.viewer.viewpoints import looking


def test_a_player_goes_round_and_begins_where_the_camera_is():
    player = Player('translation')
    assert len(player) == 3 and player.index == 0
    pose = looking((1, 2, 3), (1, 3, 3), 1.0).cam2world
    player.start(pose)
    assert [player.step()[0, 3] for _ in range(4)] == pytest.approx([2, 3, 1, 2])
    # Stopped at the second motion: started elsewhere, that motion is where the camera is.
    player.start(np.eye(4))
    assert [player.step()[0, 3] for _ in range(2)] == pytest.approx([1, -1])
