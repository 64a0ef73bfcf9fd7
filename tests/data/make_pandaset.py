"""Make the mini PandaSet in tests/data/pandaset from the data set: make_pandaset.py SOURCE OUT

SOURCE is a folder of PandaSet sequences as published, or a shortened one with smaller images. The result has the same
layout: four frames of sequence 002, 0.5 s apart, as frames 0 to 3, with all cameras, LiDAR, cuboids and classes of
points. README.md beside the result says what was changed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SEQUENCE = '002'
# Renumbered from 0, as a range of frames to convert must be complete; their poses and times are their own.
FRAMES = (40, 45, 50, 55)
SIZE = (480, 270)
QUALITY = 80
# Every how many points of the two LiDARs are kept, and to how many meters their positions are rounded.
EVERY = {0: 8, 1: 4}
STEP = 0.01
TIME_STEP = 0.001


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', type=Path, help='folder that holds 002')
    parser.add_argument('out', type=Path, help='folder to write 002 to')
    return parser.parse_args()


def write_camera(source: Path, out: Path) -> None:
    """The images of one camera, smaller, and its intrinsics for them."""
    out.mkdir(parents=True)
    for number, frame in enumerate(FRAMES):
        with Image.open(source / f'{frame:02d}.jpg') as image:
            full = image.size
            small = image.resize(SIZE, Image.Resampling.BOX)
        small.save(out / f'{number:02d}.jpg', quality=QUALITY, optimize=True)
    scale = {'x': SIZE[0] / full[0], 'y': SIZE[1] / full[1]}
    intrinsics = json.loads((source / 'intrinsics.json').read_text())
    scaled = {name: value * scale[name[1]] for name, value in intrinsics.items()}
    (out / 'intrinsics.json').write_text(json.dumps(scaled) + '\n')
    for name in ('poses.json', 'timestamps.json'):
        write_list(source / name, out / name)


def write_list(source: Path, path: Path) -> None:
    """Those entries of a list that belong to the frames."""
    entries = json.loads(source.read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([entries[frame] for frame in FRAMES]) + '\n')


def write_table(table: pd.DataFrame, path: Path) -> None:
    """As published: a pickled table, compressed, which pandas 2 reads, too."""
    table = table.set_axis(table.columns.astype(object), axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_pickle(path, compression={'method': 'gzip', 'mtime': 0}, protocol=4)


def write_points(source: Path, out: Path, frame: int, number: int) -> None:
    """Fewer points, and their classes."""
    points = pd.read_pickle(source / f'lidar/{frame:02d}.pkl.gz')
    classes = pd.read_pickle(source / f'annotations/semseg/{frame:02d}.pkl.gz')
    kept = np.zeros(len(points), bool)
    for sensor, every in EVERY.items():
        kept[np.flatnonzero(points['d'] == sensor)[::every]] = True
    points, classes = points[kept].reset_index(drop=True), classes[kept].reset_index(drop=True)
    for column, step in {'x': STEP, 'y': STEP, 'z': STEP, 't': TIME_STEP}.items():
        points[column] = (points[column] / step).round() * step
    types = {'x': np.float32, 'y': np.float32, 'z': np.float32, 'i': np.uint8, 'd': np.uint8}
    write_table(points.astype(types), out / f'lidar/{number:02d}.pkl.gz')
    write_table(classes.astype(np.uint8), out / f'annotations/semseg/{number:02d}.pkl.gz')


def main() -> None:
    """Write the sequence; nothing may be there."""
    args = parse_args()
    source, out = args.source / SEQUENCE, args.out / SEQUENCE
    for camera in sorted((source / 'camera').iterdir()):
        write_camera(camera, out / 'camera' / camera.name)
    for number, frame in enumerate(FRAMES):
        write_points(source, out, frame, number)
        cuboids = 'annotations/cuboids'
        (out / cuboids).mkdir(exist_ok=True)
        shutil.copyfile(source / cuboids / f'{frame:02d}.pkl.gz', out / cuboids / f'{number:02d}.pkl.gz')
    for name in ('lidar/poses.json', 'lidar/timestamps.json', 'meta/gps.json', 'meta/timestamps.json'):
        write_list(source / name, out / name)
    classes = 'annotations/semseg/classes.json'
    shutil.copyfile(source / classes, out / classes)


if __name__ == '__main__':
    main()
