"""See a scene from elsewhere: python tools/novel_view_synthesis.py CONFIG CKPT [index] [--video out.mp4]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from projects.DistillNeRF.engine.command_line import config_parser
from projects.DistillNeRF.engine.config import default_work_dir, load_config
from projects.DistillNeRF.engine.pictures import NovelViews
from projects.DistillNeRF.errors import command
from projects.DistillNeRF.visualization.trajectories import TRAJECTORIES


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = config_parser(__doc__)
    parser.add_argument('index', nargs='?', type=int, default=0, help='first of the three poses to draw')
    parser.add_argument('--trajectory', choices=sorted(TRAJECTORIES), default='left_right')
    parser.add_argument('--sample', type=int, default=0, help='number of the sample in the test data')
    parser.add_argument('--video', type=Path, help='write the whole trajectory to this MP4 file instead')
    parser.add_argument('--out-dir', type=Path, help='where pictures go; default: work_dirs/CONFIG/novel_views')
    return parser.parse_args()


@command
def main() -> None:
    """Write three pictures, or a video."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    novel = NovelViews(config, args.checkpoint, args.sample)
    if args.video:
        novel.video(args.trajectory, args.video)
        print(f'wrote {args.video}')
        return
    directory = args.out_dir or default_work_dir(args.config) / 'novel_views'
    for path in novel.strips(args.trajectory, args.index, directory):
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
