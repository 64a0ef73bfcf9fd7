"""Fly through a scene: tools/viewer.py CONFIG CKPT [--data FOLDER], --scene FILE, or [CONFIG] --scene-nerf CKPT."""

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
from projects.DistillNeRF.scene_nerf.settings import SECTION
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.precision import DEFAULT
from projects.DistillNeRF.visualization.viewer.field_viewer import FieldViewer
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
    parser.add_argument(
        '--scene-nerf',
        type=file_path,
        metavar='CKPT',
        help='the field of a drive (docs/TEACHERS.md); CONFIG is that of its training, by default the one beside it',
    )
    parser.add_argument(
        '--sample', type=int, help='number of the first sample in the test data, or keyframe of the drive; default: 0'
    )
    add_trajectory(parser)
    parser.add_argument('--host', default=DEFAULT_HOST, help='address to listen on; the default is this machine alone')
    parser.add_argument('--port', type=int, default=DEFAULT_PORT, help='0 takes any that is free')
    parser.add_argument('--device', default='cpu', help='where the network or the field is: cpu, cuda, ...')
    add_precision(parser)
    return parser.parse_args()


def _check_use(args: argparse.Namespace) -> None:
    """Refuse options that would do nothing."""
    refuse_together(args, '--scene', ('checkpoint', '--sample'), 'is looked at as it is')
    refuse_together(args, '--data', ('--sample',), 'is one sample')
    refuse_together(args, '--scene-nerf', ('--scene', '--data', '--undistort'), 'is looked at as it is')
    if args.scene_nerf is not None:
        _check_use_of_field(args)
        return
    if args.config is None and args.cfg_options:
        raise InputError('--cfg-options would do nothing without a config; give one')
    if args.config is not None and args.scene is None and not hasattr(args, 'checkpoint'):
        raise InputError(f'{args.config}: give a checkpoint after it, or None for random weights')
    data = ('test_dataloader.dataset.image_size',) if args.data else DATA_AND_NETWORK
    read = ('model.text_encoder',) if args.scene else ('model.text_encoder', 'model.network', *data)
    warn_of_unread(args.cfg_options, read)


def _check_use_of_field(args: argparse.Namespace) -> None:
    """Refuse options that would do nothing with the field of a drive."""
    if getattr(args, 'checkpoint', None) is not None:
        raise InputError(f'{args.checkpoint}: --scene-nerf gives the checkpoint; leave one of the two away')
    if args.precision != DEFAULT:
        raise InputError('--scene-nerf is rendered in fp32; leave --precision away')
    warn_of_unread(args.cfg_options, ('model', SECTION))


def _viewer(args: argparse.Namespace) -> Viewer:
    """Open what there is to look at, and begin to serve it."""
    where = (args.trajectory, args.host, args.port)
    if args.scene_nerf is not None:
        # Imported where it is needed: it compiles kernels.
        from projects.DistillNeRF.engine.view_field import open_field

        field = open_field(args.config, args.scene_nerf, args.cfg_options, args.device)
        return FieldViewer(field, args.sample or 0, None, *where)
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
    return Viewer(source, args.sample or 0, text_encoder, *where)


@command
def main() -> None:
    """Serve until Ctrl-C."""
    args = parse_args()
    _check_use(args)
    require_one_process()
    viewer = _viewer(args)
    print(f'viewer: {viewer.url} (Ctrl-C ends it)', flush=True)
    viewer.serve()


if __name__ == '__main__':
    main()
