"""Render novel views: python tools/novel_view_synthesis.py CONFIG CKPT [index] [--video out.mp4] [--truth]."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.configuration.config import load_config, work_dir_of
from projects.DistillNeRF.configuration.keys import DATA_AND_NETWORK, warn_of_unread
from projects.DistillNeRF.engine.command_line import (
    add_precision,
    add_trajectory,
    config_parser,
    file_path,
    refuse_together,
    refuse_without,
)
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.evaluate_novel_views import compare_with_truth
from projects.DistillNeRF.engine.novel_views import NovelViews
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.visualization.video import require_video


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    parser.add_argument('index', nargs='?', type=int, help='first of the three poses to draw; default: 0')
    add_trajectory(parser)
    parser.add_argument('--sample', type=int, help='number of the sample in the test data; default: 0')
    parser.add_argument('--video', type=file_path, help='write the whole trajectory to this file (.mp4) instead')
    parser.add_argument('--out-dir', type=file_path, help='where pictures go; default: work_dirs/CONFIG/novel_views')
    parser.add_argument('--truth', action='store_true', help='MiniTown: compare with the truth at every pose instead')
    parser.add_argument('--samples', type=int, help='with --truth: so many samples, evenly spread; default: all')
    parser.add_argument('--out', type=file_path, help='with --truth: write the figures to this JSON file')
    add_precision(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Write three pictures, or a video, or compare with the truth."""
    args = parse_args()
    require_one_process()
    refuse_together(args, '--truth', ('index', '--sample', '--video', '--out-dir'), 'compares all poses of all samples')
    refuse_without(args, '--truth', ('--samples', '--out'))
    refuse_together(args, '--video', ('index', '--out-dir'), 'is of the whole trajectory')
    if args.video:
        require_video(args.video)
    config = load_config(args.config, args.cfg_options)
    more = () if args.truth else ('model.visualize_foundation_model_feat', 'work_dir')
    warn_of_unread(args.cfg_options, (*DATA_AND_NETWORK, *more))
    if args.truth:
        figures = compare_with_truth(config, args.checkpoint, args.trajectory, args.samples, args.out, args.precision)
        print(figures)
        if args.out:
            print(f'wrote {args.out}')
        return
    novel = NovelViews.of_sample(config, args.checkpoint, args.sample or 0, args.precision)
    if args.video:
        novel.video(args.trajectory, args.video)
        print(f'wrote {args.video}')
        return
    directory = args.out_dir or work_dir_of(config) / 'novel_views'
    for path in novel.strips(args.trajectory, args.index or 0, directory):
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
