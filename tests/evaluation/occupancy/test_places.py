"""Places of flags, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.evaluation.occupancy.places import places_of


@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize('shape', [(0,), (1,), (7,), (8,), (9,), (5, 4, 3), (20, 20, 16)])
def test_places_are_those_of_numpy(shape, share):
    flags = np.random.default_rng(0).random(shape) < share
    for one in (flags, flags.T, np.repeat(flags, 2)[::2], np.append(flags, True)[:-1]):
        places, expected = places_of(one), np.flatnonzero(one)
        assert places.dtype == expected.dtype and np.array_equal(places, expected)
