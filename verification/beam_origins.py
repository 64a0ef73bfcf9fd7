"""Where the beams of PandaSet's two LiDARs begin: ``python -m verification.beam_origins SEQUENCE [--frames 25 30]``.

PandaSet publishes points in the world and poses of the vehicle, but no mounting of the LiDARs. It shows in the points:

* the turning LiDAR (sensor 0, Pandar64) has one elevation per channel. From any place but its own they smear; the
  place and tilt is sought from which the histogram of elevations is sharpest;
* the forward LiDAR (sensor 1, PandarGT) moves its beams evenly along lines. From any place but its own the lines bend
  where the range jumps; the place is sought from which neighbors in the file lie on straight, even lines.

Points are looked at in the frame of the vehicle at their own time (column ``t``), for which poses are interpolated.
With the pose of the frame for all of them nothing is as sharp: points are where they were in the world when they were
hit (compensated for motion), and beams begin where the car was at that time. The pose of a frame is that of the end of
the turn of sensor 0, which begins 0.1 s earlier at the back, clockwise; sensor 1 runs on its own clock.

At last it prints how far the origins that the converter writes are from where the sensor was at the time of its points.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, minimize
from scipy.spatial.transform import Rotation, Slerp

from projects.DistillNeRF.datasets.converters.pandaset_points import BEAM_ORIGINS, LIDAR_HEIGHT, beam_origins
from projects.DistillNeRF.datasets.converters.pandaset_raw import (
    TABLE_SUFFIXES,
    frame_files,
    pose_of,
    read_poses,
    read_table,
    read_times,
)

# Where searches begin, in the vehicle frame, and how far they go; meters and degrees.
STARTS = ((0.0, 0.5, 1.8), (0.0, 0.9, 1.8), (0.0, 1.3, 1.8))
REACH = 0.6
TILT = 3.0
# Elevations of the turning LiDAR, most of whose channels are 0.17 apart, degrees.
ELEVATIONS = (-26.0, 16.0)
# Range of the points, width of bins in degrees, first step in meters. Elevations of far points depend little on the
# origin, so they are looked at first; those nearer than 3 m are of the car itself.
Stage = tuple[float, float, float, float]
STAGES: tuple[Stage, ...] = ((25.0, 100.0, 0.06, 0.4), (8.0, 40.0, 0.04, 0.1), (3.0, 40.0, 0.02, 0.03))
# Degrees from beam to beam along a line of the forward LiDAR, and azimuths of its three banks.
ALONG = (0.04, 0.17)
BANKS = ((-29.0, -11.5), (-7.5, 7.5), (12.0, 29.0))
# Degrees; what is farther off a line is no part of it.
OFF_LINE = 0.01


def vehicle_points(folder: Path, frame: int, sensor: int, own_time: bool = True) -> np.ndarray:
    """Read the points ``(n, 3)`` of a sensor in the vehicle frame, in the order of the file.

    Args:
        folder: the sequence.
        frame: number of the frame.
        sensor: 0 or 1.
        own_time: take the vehicle's pose at the time of each point, rather than that of the frame.
    """
    table = _table(folder, frame, sensor)
    poses, times = _vehicle_poses(folder)
    when = table.t.to_numpy() if own_time else np.full(len(table), times[frame])
    rotations, places = _poses_at(when, poses, times)
    return rotations.inv().apply(table[['x', 'y', 'z']].to_numpy(np.float64) - places)


def written_errors(folder: Path, frame: int, sensor: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tell how far the converter's origins of beams are from where the sensor was at the time of each point.

    Args:
        folder: the sequence.
        frame: number of the frame, not the first.
        sensor: 0 or 1.

    Returns:
        ``(n,)`` times of the points relative to that of the frame, seconds; meters for the one origin of all beams, and
        for that which moves.
    """
    when = _table(folder, frame, sensor).t.to_numpy()
    poses, times = _vehicle_poses(folder)
    rotations, places = _poses_at(when, poses, times)
    true = rotations.apply(BEAM_ORIGINS[sensor]) + places
    lidar2global = poses[frame].copy()
    lidar2global[:3, 3] += LIDAR_HEIGHT * lidar2global[:3, 2]
    written = beam_origins(lidar2global, poses[frame], poses[frame - 1], times[frame - 1] - times[frame])
    delays = when - times[frame]
    late = delays - written['origins_delay']
    middle, velocity = (np.array(written[name][sensor]) for name in ('origins', 'origins_velocity'))
    fixed, moving = (
        local @ lidar2global[:3, :3].T + lidar2global[:3, 3] for local in (middle, middle + late[:, None] * velocity)
    )
    return delays, np.linalg.norm(fixed - true, axis=1), np.linalg.norm(moving - true, axis=1)


def _table(folder: Path, frame: int, sensor: int) -> pd.DataFrame:
    """Read the points of a sensor."""
    table = read_table(frame_files(folder / 'lidar', TABLE_SUFFIXES)[frame], ('x', 'y', 'z', 't', 'd'))
    return table[table.d == sensor]


def _vehicle_poses(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the poses ``(f, 4, 4)`` of the vehicle and their times ``(f,)``."""
    path = folder / 'lidar/poses.json'
    stored = read_poses(path)
    poses = np.array([pose_of(stored, number, path) for number in range(len(stored))])
    return poses, np.array(read_times(folder / 'lidar/timestamps.json'))


def _poses_at(when: np.ndarray, poses: np.ndarray, times: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """Interpolate poses; return how the vehicle is turned at each time ``(n,)``, and where it is ``(n, 3)``."""
    when = np.clip(when, times[0], times[-1])
    rotations = Slerp(times, Rotation.from_matrix(poses[:, :3, :3]))(when)
    return rotations, np.column_stack([np.interp(when, times, poses[:, axis, 3]) for axis in range(3)])


def directions(points: np.ndarray, origin: np.ndarray, tilt: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return azimuth (clockwise from the front) and elevation of points, ``(n,)`` degrees each.

    Args:
        points: ``(n, 3)``, x right, y forward, z up.
        origin: ``(3,)`` where they are seen from.
        tilt: ``(2,)`` how the sensor is turned about x and y, degrees; None: not.
    """
    points = points - origin
    if tilt is not None:
        points = points @ Rotation.from_euler('xy', tilt, degrees=True).as_matrix()
    x, y, z = points.T
    return np.degrees(np.arctan2(x, y)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def sharpness(elevations: np.ndarray, width: float) -> float:
    """Return how much more often two elevations share a bin of a width in degrees than if they were spread evenly."""
    counts = np.histogram(elevations, np.arange(*ELEVATIONS, width))[0]
    counts = np.convolve(counts, [0.25, 0.5, 0.25], 'same')
    return float((counts**2).sum() * len(counts) / len(elevations) ** 2)


def turning_origin(
    points: np.ndarray, starts: Sequence[Sequence[float]] = STARTS, stages: Sequence[Stage] = STAGES
) -> tuple[np.ndarray, float]:
    """Find the place from which points have the fewest elevations.

    Args:
        points: ``(n, 3)``; those of several frames have fewer optima at wrong places.
        starts: ``(k, 3)`` or ``(k, 5)`` where to begin; the sharpest result counts.
        stages: of the search.

    Returns:
        ``(5,)`` place and tilt about x and y, and how sharp elevations are from there.
    """
    return max((_sharpest_near(points, np.asarray(start), stages) for start in starts), key=lambda found: found[1])


def _sharpest_near(points: np.ndarray, start: np.ndarray, stages: Sequence[Stage]) -> tuple[np.ndarray, float]:
    """Search for place and tilt of the turning LiDAR from one start."""
    distance = np.linalg.norm(points - start[:3], axis=1)
    found = np.r_[start, np.zeros(5 - len(start))]
    reach = np.array([REACH, REACH, REACH, TILT, TILT])
    bounds = np.column_stack([found - reach, found + reach])
    for nearest, farthest, width, step in stages:
        chosen = points[(distance > nearest) & (distance < farthest)]

        def cost(values: np.ndarray, chosen: np.ndarray = chosen, width: float = width) -> float:
            return -sharpness(directions(chosen, values[:3], values[3:])[1], width)

        first = np.vstack([found, found + np.diag(step * np.array([1.0, 1.0, 1.0, 2.0, 2.0]))])
        options = {'initial_simplex': first, 'maxfev': 300, 'xatol': 1e-4}
        result = minimize(cost, found, method='Nelder-Mead', bounds=bounds, options=options)
        found = result.x
    return found, -float(result.fun)


def _triples(points: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """List the points ``(m, 3)`` that follow each other in the file on one line of the forward LiDAR."""
    azimuth, _ = directions(points, origin)
    triples = []
    for low, high in BANKS:
        bank = np.flatnonzero((azimuth > low) & (azimuth < high))
        triple = np.column_stack([bank[:-2], bank[1:-1], bank[2:]])
        steps = np.diff(azimuth[triple], axis=1)
        even = (np.abs(steps) > ALONG[0]).all(1) & (np.abs(steps) < ALONG[1]).all(1)
        triples.append(triple[even & (steps.prod(1) > 0)])
    return np.concatenate(triples)


def forward_origin(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the place ``(3,)`` from which lines are straight and even, and the median of what is left in degrees.

    Args:
        points: ``(n, 3)`` of one frame, in the order of the file.
    """
    found = np.asarray(STARTS[0])
    for _ in range(4):
        triples = _triples(points, found)

        def bends(origin: np.ndarray, triples: np.ndarray = triples) -> np.ndarray:
            azimuth, elevation = (values[triples] for values in directions(points, origin))
            share = (azimuth[:, 1] - azimuth[:, 0]) / (azimuth[:, 2] - azimuth[:, 0])
            rise = elevation[:, 1] - elevation[:, 0] - share * (elevation[:, 2] - elevation[:, 0])
            return np.concatenate([rise, azimuth[:, 1] - azimuth[:, [0, 2]].mean(1)]) / OFF_LINE

        found = least_squares(bends, found, loss='cauchy').x
    return found, float(np.median(np.abs(bends(found))) * OFF_LINE)


def measure(folder: Path, frames: Sequence[int], sensor: int, own_time: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Measure the origin of a sensor in every frame.

    Args:
        folder: the sequence.
        frames: numbers of frames with LiDAR.
        sensor: 0 or 1.
        own_time: as in :func:`vehicle_points`.

    Returns:
        ``(n, 3)`` origins, and ``(n,)`` sharpness (sensor 0) or what is left (sensor 1).
    """
    points = [vehicle_points(folder, frame, sensor, own_time) for frame in frames]
    if sensor:
        found = [forward_origin(part) for part in points]
    else:
        start, _ = turning_origin(np.concatenate([part[:: len(points)] for part in points]))
        found = [turning_origin(part, [start], STAGES[-1:]) for part in points]
    return np.array([place[:3] for place, _ in found]), np.array([left for _, left in found])


def main() -> None:
    """Print the origins that every frame shows, and their median and spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sequence', type=Path, help='folder of a sequence of PandaSet')
    parser.add_argument('--frames', type=int, nargs='+', help='frames with LiDAR; default: all')
    args = parser.parse_args()
    frames = args.frames or sorted(frame_files(args.sequence / 'lidar', TABLE_SUFFIXES))
    for sensor, what in enumerate(('sharper than evenly spread', 'degrees off a line')):
        for own_time in (True, False):
            print(f'sensor {sensor}, poses of {"the points" if own_time else "the frame"}: x right, y forward, z up')
            origins, left = measure(args.sequence, frames, sensor, own_time)
            for frame, origin, value in zip(frames, origins, left, strict=True):
                print(f'  frame {frame}: {origin.round(3).tolist()} m, {value:.3g} {what}')
            print(f'  median {np.median(origins, 0).round(3).tolist()} m, std {np.std(origins, 0).round(3).tolist()} m')
    print('Farthest origins as converted from where the sensor was at the time of a point: one for all, or moving')
    for frame, sensor in product([frame for frame in frames if frame], range(2)):
        delays, fixed, moving = written_errors(args.sequence, frame, sensor)
        span = f'points from {delays.min():.3f} to {delays.max():.3f} s'
        print(f'  frame {frame}, sensor {sensor}: {fixed.max():.3f} m, {moving.max():.3f} m; {span}')


if __name__ == '__main__':
    main()
