"""The road surface: asphalt with worn wheel tracks, and the paint that follows from the plan of the streets."""

from __future__ import annotations

import numpy as np

from .materials import Appearance, Hits
from .textures import cell, mix, noise, pulse, smoothstep, stripes
from .town_plan import CORNER_RADIUS, LANE_EDGE, LANE_OFFSET, STOP_LINE, WIDE, ZEBRA, Plan

_PAINT = np.float32([0.82, 0.82, 0.78])
_DASH_PERIOD, _DASH_SHARE = 6.0, 0.5


def road(hits: Hits, plan: Plan) -> Appearance:
    """Paint the road at ``hits``, whose texture axes must be x and y of the town."""
    x, y = hits.points[:, 0], hits.points[:, 1]
    asphalt = hits.faces['color'] * (0.66 + 0.68 * noise(x, y, 80.0))[:, None]
    patch = (cell(x / 3.7, y / 5.3) > 0.93) * (1 - smoothstep(np.maximum(hits.width_u, hits.width_v), 1.0, 3.0))
    asphalt = asphalt * (1.0 - 0.28 * patch)[:, None]
    offsets, beyond = [], []
    for axis, position in enumerate((x, y)):
        index, offset = plan.across(axis, position)
        offsets.append(offset)
        beyond.append(np.abs(offset) - plan.halves[axis][index])
    paint, wear = np.zeros(len(x), np.float32), np.zeros(len(x), np.float32)
    widths = (hits.width_u, hits.width_v)
    for axis in range(2):
        along = 1 - axis
        # On the street across `axis`, and not within the crossing that a street of the other axis makes with it.
        on = (beyond[axis] <= CORNER_RADIUS) & (beyond[along] > 0.0)
        rows = np.flatnonzero(on)
        wide = beyond[axis][rows] - np.abs(offsets[axis][rows]) < -(WIDE - 0.1)
        street = _Street(
            across=offsets[axis][rows],
            along=(x, y)[along][rows],
            to_crossing=beyond[along][rows],
            toward=np.sign(offsets[along][rows]) * (-1.0 if axis == 0 else 1.0),
            wide=wide,
            width_across=widths[axis][rows],
            width_along=widths[along][rows],
        )
        paint[rows] = np.maximum(paint[rows], street.paint())
        wear[rows] = np.maximum(wear[rows], street.wear())
    asphalt = asphalt * (1.0 - 0.22 * wear)[:, None]
    worn = 0.78 + 0.22 * noise(x, y, 14.0)
    return Appearance(mix(asphalt, _PAINT, paint * worn), hits.faces['gloss'])


class _Street:
    """Points on one street each, in its own coordinates.

    Args (all ``(n,)``):
        across: meters from the middle line; along: coordinate along the street; to_crossing: meters to the crossing.
        toward: +1 where traffic at positive ``across`` drives toward the crossing, -1 where at negative.
        wide: whether there are parking lanes. width_across, width_along: what a pixel covers.
    """

    def __init__(self, across, along, to_crossing, toward, wide, width_across, width_along) -> None:
        self.across, self.along, self.to_crossing = across, along, to_crossing
        self.toward, self.wide = toward, wide
        self.width_across, self.width_along = width_across, width_along

    def paint(self) -> np.ndarray:
        """Return the share ``(n,)`` of white paint: middle line, parking lane, zebra crossing, stop line."""
        side = np.abs(self.across)
        approach = smoothstep(self.to_crossing, STOP_LINE + 11.9, STOP_LINE + 12.0)
        period = _DASH_PERIOD
        dashes = stripes(self.along / period, 0.0, _DASH_SHARE, self.width_along / period)
        middle = pulse(self.across, -0.09, 0.09, self.width_across) * (dashes * approach + 1.0 - approach)
        middle = middle * pulse(self.to_crossing, STOP_LINE, 1e4, self.width_along)
        parking = pulse(side, LANE_EDGE, LANE_EDGE + 0.12, self.width_across) * self.wide
        parking = parking * pulse(self.to_crossing, STOP_LINE + 3.0, 1e4, self.width_along)
        bars = stripes(self.across / 1.0, 0.25, 0.75, self.width_across)
        zebra = bars * pulse(self.to_crossing, *ZEBRA, self.width_along)
        inbound = pulse(self.across * self.toward, 0.1, LANE_EDGE, self.width_across)
        stop = inbound * pulse(self.to_crossing, STOP_LINE, STOP_LINE + 0.4, self.width_along)
        return np.maximum.reduce([middle, parking, zebra, stop])

    def wear(self) -> np.ndarray:
        """Return the darkness ``(n,)`` of the two wheel tracks of each lane."""
        track = np.abs(np.abs(np.abs(self.across) - LANE_OFFSET) - 0.75)
        return 1.0 - smoothstep(track, 0.1, 0.5)
