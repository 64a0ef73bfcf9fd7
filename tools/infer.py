"""Reconstruct a scene from own images: python tools/infer.py FOLDER CONFIG CKPT --out DIR (docs/OWN_DATA.md)."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.configuration.keys import PICTURES, warn_of_unread
from projects.DistillNeRF.engine.command_line import add_precision, add_trajectory, config_parser, file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.infer import infer
from projects.DistillNeRF.utils.errors import command


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__, folder='images and cameras.json (docs/OWN_DATA.md)')
    parser.add_argument('--out', type=file_path, required=True, help='where pictures, voxels, scene and video go')
    parser.add_argument('--undistort', action='store_true', help='undo the distortion of the lenses')
    add_trajectory(parser)
    parser.add_argument('--device', default='cpu', help='where the network computes, such as cuda')
    add_precision(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Write pictures, voxels, the scene and a video."""
    args = parse_args()
    require_one_process()
    config = load_config(args.config, args.cfg_options, sections=('model', 'test_dataloader'))
    drawn = [
        key
        for key in PICTURES
        if key not in ('model.vis_save_directory', 'model.visualize_imgs', 'model.visualize_voxels')
    ]
    warn_of_unread(args.cfg_options, ('model.network', 'test_dataloader.dataset.image_size', *drawn))
    how = {name: getattr(args, name) for name in ('undistort', 'device', 'precision')} | {'path': args.trajectory}
    for path in infer(args.folder, config, args.checkpoint, args.out, **how):
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
