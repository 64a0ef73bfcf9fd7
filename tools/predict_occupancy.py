"""Predict occupancy as Occ3D has it: python tools/predict_occupancy.py CONFIG CKPT --out DIR (docs/EVALUATION.md)."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.engine.command_line import add_precision, config_parser, file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.occupancy_options import add_sampling, add_semantics, config_and_semantics
from projects.DistillNeRF.engine.predict_occupancy import predict_occupancy
from projects.DistillNeRF.evaluation.occupancy.from_scene import GridSampling
from projects.DistillNeRF.utils.errors import command


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    parser.add_argument('--out', type=file_path, required=True, help='where SCENE/TOKEN.npz go')
    add_semantics(parser)
    add_sampling(parser)
    parser.add_argument('--device', default='cpu', help='where the network computes, such as cuda')
    add_precision(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Write a grid per sample of the test data, and print how they were made."""
    args = parse_args()
    require_one_process()
    config, semantics = config_and_semantics(args)
    sampling = GridSampling(args.lattice, args.min_density, args.dilation)
    written = list(
        predict_occupancy(config, args.checkpoint, args.out, semantics, sampling, args.device, args.precision)
    )
    print(f'voxels: {sampling}; classes: {semantics}')
    print(f'wrote {len(written)} grids to {args.out}')


if __name__ == '__main__':
    main()
