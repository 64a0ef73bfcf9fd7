"""Sky masks: extract_sky_masks.py {transformers,onnx,lidar} --data INFOS --model M --out DIR (docs/TEACHERS.md)."""

from __future__ import annotations

import argparse
import math

from projects.DistillNeRF.engine.command_line import file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.extraction_arguments import (
    add_maps,
    add_network,
    extraction_options,
    onnx_options,
    pair,
    ran_on_cluster,
    tasks_of,
)
from projects.DistillNeRF.engine.sky_from_lidar import extract_sky_from_lidar
from projects.DistillNeRF.engine.sky_masks import MAPS, NAME, SKY, VERSION, MaskOptions, extract_masks, mask_files
from projects.DistillNeRF.foundation_models.segmentation import onnx_segmenter, transformers_segmenter
from projects.DistillNeRF.utils.errors import InputError, command, note

OUT = 'root of the masks, laid out as in docs/DATA.md'


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    for kind, about in (('transformers', 'SegFormer or Mask2Former'), ('onnx', 'any segmentation network')):
        part = kinds.add_parser(kind, help=about)
        add_maps(part, OUT)
        add_network(part, kind == 'onnx')
        about = 'what is written: sky masks (default), label maps of Cityscapes, masks of what can move'
        part.add_argument('--maps', nargs='+', choices=MAPS, default=[SKY], help=about)
        part.add_argument('--sky-class', type=int, help='channel of the sky; default: the one of this name')
    about = 'of a network of one channel, from which on it is sky; default: .5, of probabilities'
    part.add_argument('--threshold', type=float, help=about)
    lidar = kinds.add_parser('lidar', help='LiDAR and color, without a network')
    add_maps(lidar, OUT)
    lidar.add_argument('--lidar-root', type=file_path, help='folder of the LiDAR; default: that of the info file')
    return parser.parse_args()


@command
def main() -> None:
    """Write the masks, and print what was made."""
    args = parse_args()
    require_one_process()
    if ran_on_cluster('extract_sky_masks', args):
        return
    size = pair(args.size, '--size')
    if args.kind == 'lidar':
        _by_lidar(args, size)
        return
    tasks = tasks_of(args, mask_files([kind for kind in MAPS if kind in args.maps]))
    if args.kind == 'onnx':
        segmenter = onnx_segmenter(args.model, onnx_options(args))
        threshold = args.threshold
    else:
        segmenter = transformers_segmenter(args.model, pair(args.input_size, '--input-size'), args.device)
        threshold = None
    masks = MaskOptions(size, args.sky_class, threshold)
    settings = {
        'version': VERSION,
        'kind': args.kind,
        'model': segmenter.network.digest,
        'size': size,
        'sky_class': args.sky_class,
        'threshold': threshold,
    }
    made = extract_masks(segmenter, tasks, masks, extraction_options(args, NAME, settings))
    print(f'{args.out}: maps of {made.written} images written, of {made.kept} kept')
    for name, share in (('sky', made.sky), ('what can move', made.movable)):
        if not math.isnan(share):
            print(f'{name}: {share:.1%} of the pixels')


def _by_lidar(args: argparse.Namespace, size: tuple[int, int] | None) -> None:
    if size is None:
        raise InputError('masks by LiDAR have the size in which images are looked at; give it with --size HEIGHT WIDTH')
    tasks = tasks_of(args, mask_files([SKY]))
    options = extraction_options(args, NAME, {'version': VERSION, 'kind': 'lidar', 'size': size})
    made, unknown = extract_sky_from_lidar(tasks, args.lidar_root, args.root, size, options)
    print(f'{args.out}: sky masks of {made.written} images written, of {made.kept} kept')
    if made.written:
        print(f'sky {made.sky:.1%} of the pixels; unknown {unknown:.1%}, which are no sky in the masks')
        note('a scene NeRF finds these masks itself, and knows what is unknown: leave its scene_nerf.sky_masks at None')


if __name__ == '__main__':
    main()
