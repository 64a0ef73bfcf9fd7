"""Score predicted occupancy: python tools/score_occupancy.py GTS PREDICTIONS [--ray-iou] (docs/EVALUATION.md)."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.engine.command_line import file_path, refuse_together, refuse_without
from projects.DistillNeRF.engine.draw_occupancy import PICTURED, check_pictures, draw_frames
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.score_occupancy import LIDAR_PLACE, Origins, as_text, score
from projects.DistillNeRF.evaluation.occupancy.labels import MASKS
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.utils.files import require_writable, save_json


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('labels', type=file_path, help='folder of SCENE/TOKEN/labels.npz, such as gts of Occ3D')
    parser.add_argument('predictions', type=file_path, help='folder of SCENE/TOKEN.npz or SCENE/TOKEN/labels.npz')
    parser.add_argument(
        '--mask', choices=(*MASKS, 'none'), default='camera', help='voxels that count (default: camera)'
    )
    parser.add_argument('--ray-iou', action='store_true', help='RayIoU, too')
    place = ' '.join(f'{value:g}' for value in LIDAR_PLACE)
    about = f'where rays start, meters in the ego frame, if label files do not say so (default: {place})'
    parser.add_argument('--origin', nargs=3, type=float, metavar=('X', 'Y', 'Z'), help=about)
    about = 'info files of the drives: rays start at eight places along each, as published'
    parser.add_argument('--infos', nargs='+', type=file_path, metavar='FILE', help=about)
    parser.add_argument('--workers', type=int, default=1, help='threads (default: 1)')
    parser.add_argument('--out', type=file_path, help='write all figures to this JSON file')
    about = 'write pictures of prediction and truth to this folder: from above (PNG), and in 3D (HTML)'
    parser.add_argument('--pictures', type=file_path, metavar='DIR', help=about)
    about = f'of so many frames, evenly spread (default: {PICTURED})'
    parser.add_argument('--pictured-frames', type=int, metavar='N', help=about)
    return parser.parse_args()


@command
def main() -> None:
    """Print what was measured, a table, and what it leaves out."""
    args = parse_args()
    require_one_process()
    refuse_without(args, '--ray-iou', ['--origin', '--infos'])
    refuse_without(args, '--pictures', ['--pictured-frames'])
    refuse_together(args, '--infos', ['--origin'], 'says where the LiDAR is')
    if args.out:
        require_writable(args.out.parent)
    pictured = PICTURED if args.pictured_frames is None else args.pictured_frames
    if args.pictures:
        check_pictures(args.pictures, pictured)
    origins = None
    if args.ray_iou:
        origins = Origins.of_infos(args.infos) if args.infos else Origins(args.origin or LIDAR_PLACE)
    mask = None if args.mask == 'none' else args.mask
    result = score(args.labels, args.predictions, mask, origins, args.workers)
    print(as_text(result))
    if args.out:
        save_json(args.out, {'labels': str(args.labels), 'predictions': str(args.predictions), **result}, indent=2)
        print(f'wrote {args.out}')
    if args.pictures:
        for path in draw_frames(args.labels, args.predictions, args.pictures, mask, pictured):
            print(f'wrote {path}')


if __name__ == '__main__':
    main()
