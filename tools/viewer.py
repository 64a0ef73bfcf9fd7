"""Fly through a scene in the browser: python tools/viewer.py CONFIG CKPT [--data FOLDER], or --scene FILE."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.configuration.keys import DATA_AND_NETWORK, warn_of_unread
from projects.DistillNeRF.engine.command_line import (
    add_precision,
    add_trajectory,
    config_parser,
    file_path,
    refuse_together,
)
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.view import open_source
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.visualization.viewer.server import DEFAULT_HOST, DEFAULT_PORT, Viewer


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__, optional=True)
    parser.add_argument(
        '--data', type=file_path, help='a folder of own images instead of the test data (docs/OWN_DATA.md)'
    )
    parser.add_argument('--undistort', action='store_true', help='undo the distortion of the lenses of own images')
    parser.add_argument(
        '--scene', type=file_path, help='a scene that Scene.save or tools/infer.py wrote, instead of data'
    )
    parser.add_argument('--sample', type=int, help='number of the first sample in the test data; default: 0')
    add_trajectory(parser)
    parser.add_argument('--host', default=DEFAULT_HOST, help='address to listen on; the default is this machine alone')
    parser.add_argument('--port', type=int, default=DEFAULT_PORT, help='0 takes any that is free')
    parser.add_argument('--device', default='cpu', help='where the network is: cpu, cuda, ...')
    add_precision(parser)
    return parser.parse_args()


def _check_use(args: argparse.Namespace) -> None:
    """Refuse options that would do nothing."""
    refuse_together(args, '--scene', ('checkpoint', '--sample'), 'is looked at as it is')
    refuse_together(args, '--data', ('--sample',), 'is one sample')
    if args.config is None and args.cfg_options:
        raise InputError('--cfg-options would do nothing without a config; give one')
    if args.config is not None and args.scene is None and not hasattr(args, 'checkpoint'):
        raise InputError(f'{args.config}: give a checkpoint after it, or None for random weights')
    data = ('test_dataloader.dataset.image_size',) if args.data else DATA_AND_NETWORK
    read = ('model.text_encoder',) if args.scene else ('model.text_encoder', 'model.network', *data)
    warn_of_unread(args.cfg_options, read)


@command
def main() -> None:
    """Serve until Ctrl-C."""
    args = parse_args()
    _check_use(args)
    require_one_process()
    source, text_encoder = open_source(
        args.config,
        getattr(args, 'checkpoint', None),
        args.cfg_options,
        data=args.data,
        undistort=args.undistort,
        scene=args.scene,
        device=args.device,
        precision=args.precision,
    )
    viewer = Viewer(source, args.sample or 0, text_encoder, args.trajectory, args.host, args.port)
    print(f'viewer: {viewer.url} (Ctrl-C ends it)', flush=True)
    viewer.serve()


if __name__ == '__main__':
    main()
