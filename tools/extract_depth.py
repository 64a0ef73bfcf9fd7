"""Metric depth: extract_depth.py {transformers,onnx} --data INFOS --model M --out DIR (docs/TEACHERS.md)."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from projects.DistillNeRF.engine.command_line import file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.extract_depth import (
    NAME,
    VERSION,
    DepthOptions,
    depth_files,
    extract_depth,
    report_file,
)
from projects.DistillNeRF.engine.extraction_arguments import (
    add_maps,
    add_network,
    extraction_options,
    onnx_options,
    pair,
    ran_on_cluster,
    tasks_of,
)
from projects.DistillNeRF.foundation_models.depth import OUTPUTS, onnx_depth, transformers_depth
from projects.DistillNeRF.utils.errors import InputError, command


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    for kind, about in (('transformers', 'Depth Anything 1 or 2'), ('onnx', 'any depth network')):
        part = kinds.add_parser(kind, help=about)
        add_maps(part, 'teacher root (docs/DATA.md), the one of the sky masks')
        add_network(part, kind == 'onnx')
        about = 'root of the sky masks, where depth is unknown, or none; default: --out'
        part.add_argument('--sky', type=file_path, help=about)
        about = 'scale and shift of each image: lidar (default) fits them to LiDAR; none: meters as the network gives'
        part.add_argument('--align', choices=('lidar', 'none'), default='lidar', help=about)
        part.add_argument(
            '--max-depth', type=float, default=80.0, help='farther depth is unknown, meters (default: 80)'
        )
        part.add_argument('--lidar-root', type=file_path, help='folder of the LiDAR; default: that of the info file')
    about = 'what the network gives: meters, or depth or inverse depth up to a scale and a shift'
    part.add_argument('--gives', choices=OUTPUTS, required=True, help=about)
    return parser.parse_args()


@command
def main() -> None:
    """Write the depth, and print how it was aligned."""
    args = parse_args()
    require_one_process()
    if ran_on_cluster('extract_depth', args):
        return
    if not (math.isfinite(args.max_depth) and 0 < args.max_depth <= 65504):
        raise InputError(f'--max-depth is {args.max_depth:g}; give meters up to 65504')
    tasks = tasks_of(args, depth_files)
    size = pair(args.size, '--size')
    if args.kind == 'onnx':
        network = onnx_depth(args.model, args.gives, onnx_options(args))
    else:
        network = transformers_depth(args.model, pair(args.input_size, '--input-size'), args.device)
    sky = None if args.sky == Path('none') else args.sky or args.out
    depth = DepthOptions(size, args.max_depth, args.align == 'lidar', sky, args.lidar_root)
    settings = {
        'version': VERSION,
        'model': network.network.digest,
        'output': network.output,
        'size': size,
        'max_depth': args.max_depth,
        'align': args.align,
        'sky': None if sky is None else str(sky.absolute()),
    }
    options = extraction_options(args, NAME, settings)
    summary = extract_depth(network, tasks, depth, options)
    print(f'{"camera":24} images aligned  no file  residual   scale     shift')
    for camera, row in summary.items():
        numbers = [row['residual'], row['scale'], row['shift']]
        told = '        -       -         -' if None in numbers else '{:9.2%} {:7.4g} {:9.4g}'.format(*numbers)
        print(f'{camera:24} {row["images"]:6} {row["aligned"]:7} {row["unwritten"]:8} {told}')
    print(f'{report_file(options)}: all images; residual: median relative error at LiDAR points, of the median image')


if __name__ == '__main__':
    main()
