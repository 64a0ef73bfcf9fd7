"""Measure occupancy over settings: python tools/sweep_occupancy.py CONFIG CKPT --out DIR (docs/EVALUATION.md)."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.engine.command_line import add_precision, config_parser, file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.occupancy_options import add_sampling, add_semantics, config_and_semantics
from projects.DistillNeRF.engine.sweep_occupancy import Sweep, as_text, sweep_occupancy, write_sweep
from projects.DistillNeRF.evaluation.occupancy.labels import MASKS
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.utils.files import require_writable

DENSITIES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    parser.add_argument('--out', type=file_path, required=True, help='folder of sweep.json, sweep.md and sweep.html')
    add_sampling(parser, DENSITIES)
    parser.add_argument(
        '--mask', choices=(*MASKS, 'none'), default='camera', help='voxels that count (default: camera)'
    )
    parser.add_argument('--ray-iou', action='store_true', help='RayIoU, too; it takes longer')
    add_semantics(parser)
    parser.add_argument('--device', default='cpu', help='where the network computes, such as cuda')
    add_precision(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Print and write the figures of every setting."""
    args = parse_args()
    require_one_process()
    config, semantics = config_and_semantics(args)
    sweep = Sweep(args.lattice, args.min_density, args.dilation)
    sweep.check()
    require_writable(args.out)
    mask = None if args.mask == 'none' else args.mask
    result = sweep_occupancy(config, args.checkpoint, sweep, semantics, mask, args.ray_iou, args.device, args.precision)
    print(as_text(result))
    for path in write_sweep(result, args.out):
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
