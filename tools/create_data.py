"""Convert a data set to info files, or make its cache: create_data.py {nuscenes,waymo,pandaset,minitown,cache} -h."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.converters import nuscenes, pandaset
from projects.DistillNeRF.datasets.converters.mmdet3d import from_mmdet3d_info
from projects.DistillNeRF.datasets.converters.waymo import convert as waymo
from projects.DistillNeRF.datasets.waymo_splits import SPLITS, read_splits
from projects.DistillNeRF.engine import create_minitown as minitown
from projects.DistillNeRF.engine.command_line import Overrides, file_path, refuse_together
from projects.DistillNeRF.engine.create_cache import create_cache
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.utils.errors import command


def _frames(text: str) -> tuple[int, int]:
    first, _, last = text.partition('-')
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f'{text!r} is no range of frames such as 25-59')
    return int(first), int(last)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    subparsers = parser.add_subparsers(dest='dataset', required=True)

    def add(name: str, help_text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=help_text)
        sub.add_argument('--root-path', type=file_path, required=True, help='folder of the raw data set')
        sub.add_argument('--out-dir', type=file_path, help='where info files go; default: the root path')
        sub.add_argument('--extra-tag', default=name, help='info files are named TAG_infos_SPLIT.pkl')
        sub.add_argument('--workers', type=int, default=1, help='processes')
        sub.add_argument('--cache', metavar='CONFIG', help='then make the cache of images and LiDAR for it')
        if name != 'minitown':
            sub.add_argument('--cameras', nargs='+', help='cameras to convert; default: all that are there')
        return sub

    nuscenes_options = add('nuscenes', 'nuScenes, or any data set written as its tables')
    nuscenes_options.add_argument('--version', help='v1.0-mini, v1.0-trainval (the default) or v1.0-test')
    nuscenes_options.add_argument('--sweeps', type=int, default=10, help='LiDAR sweeps before a keyframe to list')
    nuscenes_options.add_argument(
        '--image-sweeps',
        action='store_true',
        help='list the images and all LiDAR between keyframes, too, from which teachers are trained',
    )
    nuscenes_options.add_argument('--from-info', type=file_path, help='an info pickle of mmdet3d (v2), not the tables')
    nuscenes_options.add_argument(
        '--skip-incomplete-scenes',
        action='store_true',
        help='leave out scenes of which images or LiDAR are missing (archives that were not unpacked)',
    )

    pandaset_options = add('pandaset', 'PandaSet as published')
    pandaset_options.add_argument('--sequences', nargs='+', help='sequences to convert, such as 002; default: all')
    pandaset_options.add_argument('--val-sequences', nargs='+', default=[], help='sequences of the val split')
    pandaset_options.add_argument('--train-frames', type=_frames, help='first-last frame of the train split')
    pandaset_options.add_argument('--val-frames', type=_frames, help='first-last frame of the val split')
    pandaset_options.add_argument('--step', type=int, default=5, help='frames (0.1 s) to the neighbor keyframes')

    waymo_options = add('waymo', 'Waymo Open Dataset, v1 (TFRecords) or v2 (Parquet files)')
    chosen = waymo_options.add_mutually_exclusive_group()
    chosen.add_argument('--scene-ids', nargs='+', help='names of the segments to convert; default: all')
    about = f'parts of NOTR ({", ".join(SPLITS)}), and files with the name of a segment on each line'
    chosen.add_argument('--splits', nargs='+', metavar='PART|LIST', help=about)
    waymo_options.add_argument('--val-scene-ids', nargs='+', default=[], help='segments of the val split')
    waymo_options.add_argument('--every', type=int, default=1, help='convert every n-th frame (0.1 s)')
    waymo_options.add_argument('--both-returns', action='store_true', help='second returns of the lasers, too')
    waymo_options.add_argument(
        '--undistort', action='store_true', help='make images of pinhole cameras; default: copy the JPEGs'
    )
    waymo_options.add_argument(
        '--skip-incomplete-scenes', action='store_true', help='leave out segments that cannot be converted'
    )

    minitown_options = add('minitown', 'the synthetic town: made first, then converted')
    kept = '; default: as in the town that is there, else'
    minitown_options.add_argument('--scenes', type=int, help=f'the last fifth is for validation{kept} 10')
    minitown_options.add_argument('--seed', type=int, help=f'of everything in the town{kept} 0')
    minitown_options.add_argument('--keyframes', type=int, help=f'per scene, 0.5 s apart{kept} 8')
    minitown_options.add_argument('--height', type=int, help=f'of the images, pixels{kept} 112')
    minitown_options.add_argument('--width', type=int, help=f'of the images, pixels{kept} 200')

    cache_options = subparsers.add_parser('cache', help='the cache of a data set that has been converted')
    cache_options.add_argument('config', type=file_path, help='config file of a training on these data')
    cache_options.add_argument('--workers', type=int, default=1, help='processes')
    cache_options.add_argument('--cfg-options', nargs='+', action=Overrides, help='override settings: key=value ...')
    return parser.parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Convert, and print the names of the files."""
    args = parse_args(argv)
    require_one_process()
    if args.dataset == 'cache':
        print('\n'.join(create_cache(load_config(args.config, args.cfg_options), args.workers)))
        return
    config = load_config(args.cache) if args.cache else None
    written = convert(args)
    for path in written:
        print(f'wrote {path}')
    if config is not None:
        kinds = ('img',) if args.dataset == 'pandaset' else ('img', 'lidar')
        # Waymo's files are made, those of the others are used where they are.
        files_in = written[0].parent if args.dataset == 'waymo' else args.root_path
        roots = dict.fromkeys(kinds, str(files_in.absolute()))
        print('\n'.join(create_cache(config, args.workers, written, roots)))


def convert(args: argparse.Namespace) -> list[Path]:
    """Convert the data set; return the info files."""
    out_dir = args.out_dir or args.root_path
    if args.dataset == 'nuscenes':
        refuse_together(args, '--from-info', ('--version',), 'takes the samples of its file')
        refuse_together(args, '--from-info', ('--image-sweeps',), 'takes a file that lists no images between keyframes')
    if args.dataset == 'pandaset':
        written = pandaset.convert(
            args.root_path,
            out_dir,
            tag=args.extra_tag,
            sequences=args.sequences,
            train_frames=args.train_frames,
            val_frames=args.val_frames,
            val_sequences=args.val_sequences,
            step=args.step,
            workers=args.workers,
            cameras=args.cameras,
        )
    elif args.dataset == 'waymo':
        listed = read_splits(args.splits or (), args.root_path)
        written = waymo.convert(
            args.root_path,
            out_dir,
            tag=args.extra_tag,
            scenes=args.scene_ids or listed or None,
            val_scenes=args.val_scene_ids,
            cameras=args.cameras,
            every=args.every,
            returns=2 if args.both_returns else 1,
            undistort=args.undistort,
            workers=args.workers,
            skip_incomplete=args.skip_incomplete_scenes,
        )
    elif args.dataset == 'minitown':
        written = minitown.convert(
            args.root_path,
            out_dir,
            tag=args.extra_tag,
            workers=args.workers,
            scenes=args.scenes,
            seed=args.seed,
            keyframes=args.keyframes,
            height=args.height,
            width=args.width,
        )
    elif args.from_info is not None:
        written = [
            from_mmdet3d_info(
                args.from_info,
                args.root_path,
                out_dir,
                args.extra_tag,
                args.cameras,
                args.sweeps,
                args.skip_incomplete_scenes,
            )
        ]
    else:
        written = nuscenes.convert(
            args.root_path,
            out_dir,
            args.extra_tag,
            args.version or 'v1.0-trainval',
            sweeps=args.sweeps,
            workers=args.workers,
            cameras=args.cameras,
            skip_incomplete=args.skip_incomplete_scenes,
            image_sweeps=args.image_sweeps,
        )
    return written


if __name__ == '__main__':
    main()
