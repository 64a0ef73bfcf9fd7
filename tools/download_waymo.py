"""Fetch segments of Waymo: download_waymo.py [--splits static32 dynamic32 diverse56] [--list FILE] [--out DIR]."""

from __future__ import annotations

import argparse
from pathlib import Path

from projects.DistillNeRF.datasets.waymo_splits import SPLITS
from projects.DistillNeRF.engine.command_line import file_path
from projects.DistillNeRF.engine.download_waymo import BUCKET, download, make_plan
from projects.DistillNeRF.utils.errors import InputError, command


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--splits', nargs='+', default=[], choices=SPLITS, help='parts of NOTR')
    about = 'segments of your own: a name, or a number of the order of NOTR, on each line; repeatable'
    parser.add_argument('--list', type=file_path, action='append', default=[], dest='lists', metavar='FILE', help=about)
    about = 'folder of the TFRecords; default: data/waymo/waymo_format'
    parser.add_argument('--out', type=file_path, default=Path('data/waymo/waymo_format'), metavar='DIR', help=about)
    about = f'folder of the training segments; default: {BUCKET}'
    parser.add_argument('--bucket', default=BUCKET, metavar='ADDRESS', help=about)
    about = 'saved list of that folder (gcloud storage ls --long), instead of asking for it'
    parser.add_argument('--listing', type=file_path, metavar='FILE', help=about)
    parser.add_argument('--dry-run', action='store_true', help='print what would be fetched, and fetch nothing')
    return parser.parse_args()


@command
def main() -> None:
    """Print what is fetched, and fetch it."""
    args = parse_args()
    if not (args.splits or args.lists):
        raise InputError(f'no segment is named; give --splits {" ".join(SPLITS)}, or --list FILE')
    plan = make_plan(args.out, args.splits, args.lists, args.listing, args.bucket.rstrip('/'))
    for line in plan.lines():
        print(line)
    if not args.dry_run:
        for line in download(plan):
            print(line, flush=True)


if __name__ == '__main__':
    main()
