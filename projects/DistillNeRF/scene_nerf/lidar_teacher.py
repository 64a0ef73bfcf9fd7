"""The cheap teacher: all LiDAR of a drive, drawn into a camera."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
import torch
from typing_extensions import Self

from ..geometry.cameras import Cameras
from .beams import Beams, collect_beams
from .depth_layers import close_gaps, open_sky
from .drive import Drive, DriveImage
from .evidence import gather_evidence
from .movers import find_moving
from .splatting import blend, nearest_depth
from .surfaces import fit_surfaces
from .teacher import TeacherRendering, hide_own_car
from .tracks import Thing, track_things

# Returns from nearer than this are of the own car, meters.
OWN_CAR = 2.0
# Points of a voxel of this side become one disc, meters.
DISC_VOXEL = 0.1
# Radius of discs as a share of how far their neighbors are, its bounds, and its bound where the surface has no
# direction; meters.
SPREAD, SMALLEST, LARGEST, FACING = 0.8, 0.05, 0.3, 0.07
# A disc is alone, and left out, if its neighbors are farther away than this, meters, and more per meter of range.
ALONE, ALONE_PER_METER = 0.5, 0.02
# Discs whose z is larger than that of the nearest by up to this share are of the same surface.
THICKNESS = 0.02
# Gaps up to this angle, radians, are closed between depths of this ratio at most.
GAP, RATIO = 0.05, 1.2
# Nothing nearer to a camera is drawn, z in meters.
NEAREST = 0.5
# Moving things are where a sweep saw them, if it is not farther than this from the time asked for, seconds. Otherwise
# they may be anywhere that is so near to where the sweeps before and after saw them, meters.
SAME_INSTANT, DOUBT = 0.06, 0.3
# Things that are farther away than LiDAR sees are lower than this above it, meters.
FAR_HEIGHT = 15.0


@dataclass(frozen=True)
class _Discs:
    """Discs in the scene: centers and normals ``(m, 3)``, radii and the elevation of their highest beams ``(m,)``."""

    centers: np.ndarray
    normals: np.ndarray
    radii: np.ndarray
    elevations: np.ndarray

    def moved(self, pose: np.ndarray) -> Self:
        """Return them in another frame, by a pose ``(4, 4)``."""
        rotation = pose[:3, :3]
        return replace(self, centers=self.centers @ rotation.T + pose[:3, 3], normals=self.normals @ rotation.T)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put several sets together."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))


@dataclass(frozen=True)
class LidarTeacher:
    """All LiDAR points of a drive: what moves goes along its track, or is there at its own time only.

    Attributes:
        static: discs of all sweeps.
        things: what moves and was tracked, and its discs in its own frame.
        movers: beams that ended on what else moves.
        times: ``(s,)`` seconds, in the middle of each sweep.
        ceiling: elevation of the highest beams, degrees above the horizon.
        range: length of the longest beams, meters.
    """

    static: _Discs
    things: tuple[tuple[Thing, _Discs], ...]
    movers: Beams
    times: np.ndarray
    ceiling: float
    range: float

    @classmethod
    def from_drive(
        cls, drive: Drive, exclude_frames: Collection[int] = (), voxel: float = 0.2, reach: float = 100.0
    ) -> Self:
        """Collect the LiDAR of a drive.

        Args:
            drive: the drive.
            exclude_frames: keyframes whose sweep is not used.
            voxel, reach: as in :func:`.evidence.gather_evidence`, for what moves.

        Raises:
            InputError: as :func:`.beams.collect_beams`.
        """
        beams = collect_beams(drive, exclude_frames, OWN_CAR)
        moving = find_moving(beams, gather_evidence(beams, voxel, reach))
        ceiling = float(np.percentile(_elevations(beams), 99.9))
        longest = float(np.percentile(beams.lengths, 99.9))
        times = _median_times(beams, np.ones(len(beams), bool), beams.times)
        things = [thing for thing in track_things(beams, moving) if len(thing.times) > 1]
        tracked = np.zeros(len(beams), bool)
        for thing in things:
            tracked[thing.beams] = True
        drawn = tuple((thing, _discs(beams[thing.beams], points=thing.points)) for thing in things)
        return cls(_discs(beams[~(moving | tracked)]), drawn, beams[moving & ~tracked], times, ceiling, longest)

    def render(
        self, cameras: Cameras, timestamp: float, recorded: Sequence[DriveImage | None] = ()
    ) -> TeacherRendering:
        """Render all pixels of cameras ``(V,)`` at a time in seconds; ``recorded`` as in :class:`.teacher.Teacher`.

        Returns:
            depth; sky, 0 where something is seen, NaN where nothing can be told; moving, NaN without depth.
        """
        views = [self._render_one(cameras[view], timestamp) for view in range(len(cameras))]
        depth, sky, moving = torch.from_numpy(np.stack(views, axis=1)).to(cameras.cam2world)
        return hide_own_car(TeacherRendering(depth, sky, None, moving), recorded)

    def _sweeps_at(self, camera: Cameras, timestamp: float) -> np.ndarray:
        """Return the sweep that saw what moves in the view of a camera at that time, or else those before and after."""
        times = _median_times(self.movers, _in_view(camera, self.movers.ends), self.times)
        nearest = np.abs(times - timestamp).argmin()
        if abs(times[nearest] - timestamp) <= SAME_INSTANT:
            return np.array([nearest])
        order = np.argsort(times, kind='stable')
        after = np.searchsorted(times[order], timestamp)
        return np.unique(order[np.clip([after - 1, after], 0, len(order) - 1)])

    def _render_one(self, camera: Cameras, timestamp: float) -> np.ndarray:
        """Return ``(3, h, w)`` depth, sky and moving of one camera; hide what unseen movers may hide."""
        sweeps = self._sweeps_at(camera, timestamp)
        seen = len(sweeps) == 1
        others = _discs(self.movers[np.isin(self.movers.sweeps, sweeps)], None if seen else DOUBT)
        poses = ((discs, thing.pose_at(timestamp)) for thing, discs in self.things)
        there = [discs.moved(pose) for discs, pose in poses if pose is not None]
        there.append(others if seen else _discs(self.movers[:0]))
        static, moving = _draw(self.static, camera), _draw(_Discs.joined(there), camera)
        in_front = _nearer(moving, static)
        result = np.where(in_front[..., None], moving, static)
        if not seen:
            hidden = _nearer(_draw(others, camera), result)
            result[hidden] = np.nan
            in_front |= hidden
        depth = result[..., 0]
        known = np.isfinite(depth)
        sky = np.where(known, 0.0, np.nan)
        lowest = np.degrees(np.arctan(FAR_HEIGHT / self.range))
        sky[open_sky(known, result[..., 1], _ray_elevations(camera), self.ceiling, lowest) & ~(in_front & ~known)] = 1.0
        return np.stack([depth, sky, np.where(known, in_front, np.nan)])


def _median_times(beams: Beams, chosen: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return the median time of the beams of each sweep that are chosen, ``(s,)`` seconds.

    Args:
        beams: in the order of their sweeps.
        chosen: ``(n,)`` of them.
        otherwise: ``(s,)`` seconds, for sweeps of which none is chosen.
    """
    times, sweeps, delays = otherwise.copy(), beams.sweeps[chosen], beams.delays[chosen]
    for sweep, (begin, end) in enumerate(pairwise(np.searchsorted(sweeps, np.arange(len(times) + 1)))):
        if end > begin:
            times[sweep] = beams.times[sweep] + np.median(delays[begin:end])
    return times


def _in_view(camera: Cameras, points: np.ndarray) -> np.ndarray:
    """Tell which points ``(n, 3)`` lie in the image of a camera, if nothing hides them."""
    pixels, z = (x.numpy(force=True) for x in camera.project(torch.from_numpy(points).to(camera.cam2world)))
    inside = (pixels > -0.5) & (pixels < np.array([camera.width, camera.height]) - 0.5)
    return inside.all(-1) & (z > NEAREST)


def _nearer(layer: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Tell in ``(h, w)`` where a layer is drawn and hides the other."""
    return ~(layer[..., 0] > other[..., 0]) & np.isfinite(layer[..., 0])


def _discs(beams: Beams, radius: float | None = None, points: np.ndarray | None = None) -> _Discs:
    """Make discs of what beams ended on; all of one ``radius``, or such that they just touch.

    Args:
        beams: of what they are made.
        radius: meters.
        points: ``(n, 3)`` their ends, if these are in another frame.
    """
    ends = beams.ends if points is None else points
    surfaces = fit_surfaces(ends, DISC_VOXEL if radius is None else radius / 2)
    count = len(surfaces.centers)
    ranges, elevations = np.full(count, np.inf, np.float32), np.full(count, -90, np.float32)
    np.minimum.at(ranges, surfaces.pieces, beams.lengths)
    np.maximum.at(elevations, surfaces.pieces, _elevations(beams))
    kept = surfaces.spacing <= ALONE + ALONE_PER_METER * ranges
    largest = np.where(np.isnan(surfaces.normals[:, 0]), FACING, LARGEST)
    radii = np.clip(SPREAD * surfaces.spacing, SMALLEST, largest)
    normals = surfaces.normals
    if radius is not None:
        radii, normals = np.full(count, radius), np.full_like(normals, np.nan)
    parts = (surfaces.centers, normals, radii, elevations)
    return _Discs(*(part[kept].astype(np.float64) for part in parts))


def _draw(discs: _Discs, camera: Cameras) -> np.ndarray:
    """Return ``(h, w, 2)`` z and the elevation of the beams, NaN where nothing is drawn."""
    cam2scene, intrinsics = (x.double().cpu().numpy() for x in (camera.cam2world, camera.intrinsics))
    directions = camera.pixel_directions(camera.height, camera.width).double().cpu().numpy()
    rotation = cam2scene[:3, :3]
    shapes = ((discs.centers - cam2scene[:3, 3]) @ rotation, discs.normals @ rotation, discs.radii)
    view = (intrinsics, directions, NEAREST)
    drawn = blend(*shapes, discs.elevations[:, None], *view, nearest_depth(*shapes, *view), THICKNESS)
    longest = int(GAP * intrinsics[1, 1]), int(GAP * intrinsics[0, 0])
    return close_gaps(drawn, longest, RATIO)


def _elevations(beams: Beams) -> np.ndarray:
    """Return the degrees ``(n,)`` of beams above the horizon."""
    return np.degrees(np.arcsin((beams.ends - beams.origins)[:, 2] / np.maximum(beams.lengths, 1e-6)))


def _ray_elevations(camera: Cameras) -> np.ndarray:
    """Return the degrees ``(h, w)`` of the rays of all pixels above the horizon."""
    _, directions = camera.rays(camera.height, camera.width)
    return np.degrees(np.arcsin(directions[..., 2].double().cpu().numpy()))
