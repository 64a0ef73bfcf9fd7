"""Draw what a model sees: python tools/visualization.py CONFIG CKPT --cfg-options model.visualize_imgs=True."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.configuration.config import load_config, work_dir_of
from projects.DistillNeRF.configuration.keys import RUN_BY_TESTS, warn_of_unread
from projects.DistillNeRF.engine.command_line import add_precision, config_parser
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.infer import draw_pictures
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.visualization.options import PictureOptions


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    parser.add_argument('--samples', type=int, help='how many samples of the test data; default: 4')
    add_precision(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Draw the pictures that the options ask for."""
    args = parse_args()
    require_one_process()
    config = load_config(args.config, args.cfg_options)
    warn_of_unread(args.cfg_options, (*RUN_BY_TESTS, 'work_dir'))
    directory = PictureOptions.of(config.model).directory(work_dir_of(config))
    for path in draw_pictures(config, args.checkpoint, directory, args.samples, args.precision):
        print(f'wrote {path}', flush=True)


if __name__ == '__main__':
    main()
