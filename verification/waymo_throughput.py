"""Measure how fast, and in how much memory, a segment of Waymo is converted.

    OMP_NUM_THREADS=1 python -m verification.waymo_throughput [--frames 100] [--few 8] [--returns 1] [--cameras 5]
        [--kilobytes 300] [--folder DIR]

Makes two segments of true size in a temporary folder (v1; range images of 64x2650 and four of 200x600, JPEGs of
1920x1280 and 1920x886) and converts both by the command. What the longer one takes more is said per frame: wall time,
and CPU time, which holds on a busy machine, too. The car stands still and all frames show the same.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from projects.DistillNeRF.datasets.converters.waymo.frames import (
    CAMERAS,
    LASERS,
    CameraCalibration,
    CameraImage,
    Frame,
    LaserCalibration,
    LaserReturns,
)
from projects.DistillNeRF.datasets.converters.waymo.tfrecord import frame_record
from projects.DistillNeRF.utils.errors import InputError, command
from verification.reference.waymo_records import file_name, message

SEGMENT = '1000_0_000_20_000'
START, PERIOD = 1_553_735_853_400_000, 100_000
TOP_SHAPE, SHAPE = (64, 2650), (200, 600)
# Share of the beams that come back.
SHARE = 0.35
# Where each camera looks, degrees to the left, and how high its images are.
YAWS = {'FRONT': 0, 'FRONT_LEFT': 45, 'FRONT_RIGHT': -45, 'SIDE_LEFT': 90, 'SIDE_RIGHT': -90}
HEIGHTS = {name: 886 if name.startswith('SIDE') else 1280 for name in CAMERAS}
WIDTH = 1920


@dataclass(frozen=True)
class Cost:
    """What a conversion took: wall and CPU time in seconds, largest memory in bytes."""

    wall: float
    cpu: float
    memory: int


def made_frame(returns: int, kilobytes: int) -> Frame:
    """Make a frame of true size.

    Args:
        returns: how many of each beam.
        kilobytes: of the JPEG of a camera that looks ahead.
    """
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (max(HEIGHTS.values()), WIDTH, 3), np.uint8)
    jpegs = {name: _jpeg(image[:height], kilobytes * height // 1280) for name, height in HEIGHTS.items()}
    above = np.eye(4)
    above[:3, 3] = 1.5, 0.0, 2.0
    lasers, measured = {}, {}
    for name in LASERS:
        shape = TOP_SHAPE if name == 'TOP' else SHAPE
        inclinations = np.linspace(-0.31, 0.04, shape[0]) if name == 'TOP' else None
        lasers[name] = LaserCalibration(above, (-0.32, 0.05), inclinations)
        poses = np.zeros((*shape, 6), np.float32) if name == 'TOP' else None
        projections = rng.integers(0, WIDTH, (*shape, 6), np.int32) * (rng.random((*shape, 1)) < SHARE)
        images = [_range_image(shape, rng) for _ in range(returns)]
        measured[name] = LaserReturns(images, poses, projections.astype(np.int32))
    return Frame(
        SEGMENT,
        START / 1e6,
        np.eye(4),
        {name: _camera(name, above) for name in CAMERAS},
        {name: CameraImage(jpegs[name], np.eye(4), START / 1e6, np.zeros(6)) for name in CAMERAS},
        lasers,
        measured,
    )


def _camera(name: str, above: np.ndarray) -> CameraCalibration:
    camera2vehicle = above.copy()
    camera2vehicle[:3, :3] = Rotation.from_euler('z', YAWS[name], degrees=True).as_matrix()
    intrinsics = np.array([[1.065 * WIDTH, 0, WIDTH / 2], [0, 1.065 * WIDTH, HEIGHTS[name] / 2], [0, 0, 1]])
    return CameraCalibration(camera2vehicle, intrinsics, np.zeros(5), HEIGHTS[name], WIDTH)


def _jpeg(image: np.ndarray, kilobytes: int) -> bytes:
    """Return the JPEG of an image, blurred until it is small enough."""
    for blur in range(1, 60, 2):
        content = cv2.imencode('.jpg', cv2.GaussianBlur(image, (0, 0), 0.5 * blur))[1].tobytes()
        if len(content) <= 1000 * kilobytes:
            break
    return content


def _range_image(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    image = np.full((*shape, 4), -1, np.float32)
    back = rng.random(shape) < SHARE
    image[back, :3] = rng.uniform(0, 1, (back.sum(), 3)) * [30.0, 1.0, 1.0] + [4.0, 0.0, 0.0]
    return image


def write_segment(root: Path, frame: Frame, count: int) -> int:
    """Write a segment of equal frames, a tenth of a second apart; return the bytes of a record."""
    root.mkdir(parents=True)
    made = message(frame)
    with (root / file_name(SEGMENT)).open('wb') as file:
        for number in range(count):
            made.timestamp_micros = START + number * PERIOD
            for image in made.images:
                image.pose_timestamp = (made.timestamp_micros + PERIOD // 2) / 1e6
            record = frame_record(made.SerializeToString())
            file.write(record)
    return len(record)


def convert(root: Path, out: Path, options: list[str]) -> Cost:
    """Run the command on a segment."""
    arguments = ['tools/create_data.py', 'waymo', '--root-path', str(root), '--out-dir', str(out), *options]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise InputError(done.stderr.splitlines()[-1].removeprefix('error: '))
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, 1024 * after.ru_maxrss)


def measure(folder: Path, frames: int, few: int, returns: int, cameras: int, kilobytes: int) -> tuple[Cost, int, int]:
    """Convert a long and a short segment.

    Returns:
        what a frame costs (its memory is that of the whole process), bytes of its record, and its points.
    """
    frame, costs, size = made_frame(returns, kilobytes), {}, 0
    options = ['--cameras', str(cameras), *(['--both-returns'] if returns == 2 else [])]
    for count in (few, frames):
        size = write_segment(folder / f'{count}/raw', frame, count)
        costs[count] = convert(folder / f'{count}/raw', folder / f'{count}/out', options)
    points = sum(int((image[..., 0] > 0).sum()) for laser in frame.returns.values() for image in laser.range_images)
    long, short = costs[frames], costs[few]
    parts = ((getattr(long, name) - getattr(short, name)) / (frames - few) for name in ('wall', 'cpu'))
    return Cost(*parts, long.memory), size, points


@command
def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {'frames': 100, 'few': 8, 'returns': 1, 'cameras': 5, 'kilobytes': 300}
    for name, default in defaults.items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--folder', type=Path, help='where the temporary folder is made')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        cost, size, points = measure(Path(folder), **{name: getattr(args, name) for name in defaults})
    print(
        f'{args.frames - args.few} frames of {size / 1e6:.1f} MB, {points} points and {args.cameras} images each, load '
        f'{os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores'
    )
    print(
        f'per frame: wall {1000 * cost.wall:.0f} ms ({1 / cost.wall:.1f} frames/s), CPU {1000 * cost.cpu:.0f} ms '
        f'({1 / cost.cpu:.1f} frames/s per core); memory {cost.memory / 2**20:.0f} MiB at most'
    )


if __name__ == '__main__':
    main()
