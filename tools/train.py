"""Train: python tools/train.py CONFIG [--work-dir DIR] [--cfg-options key=value ...]."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.configuration.config import FIELD_SECTIONS, is_field, load_config, work_dir_of
from projects.DistillNeRF.configuration.keys import warn_of_unread
from projects.DistillNeRF.configuration.sections import TOP_LEVEL
from projects.DistillNeRF.engine.command_line import add_launcher, add_precision, config_parser, file_path
from projects.DistillNeRF.engine.train import train
from projects.DistillNeRF.engine.train_field import train_field
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.precision import DEFAULT


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__, checkpoint=False)
    parser.add_argument('--work-dir', type=file_path, help='where logs and checkpoints go; default: work_dirs/CONFIG')
    parser.add_argument('--seed', type=int, help="default: that of the config's randomness, or 0")
    parser.add_argument('--amp', action='store_true', help='mixed precision: fp16 on CUDA, bf16 elsewhere')
    add_precision(parser, default=None)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from a checkpoint, or the longest trained of a folder; without a name, of the work folder',
    )
    add_launcher(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Train as the config says."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options, field_sections=FIELD_SECTIONS)
    options = args.cfg_options or {}
    warn_of_unread(options, sorted(TOP_LEVEL), but=('test_dataloader', 'test_cfg', 'test_evaluator'))
    if args.seed is not None and 'randomness.seed' in options:
        raise InputError(f'--seed {args.seed} and randomness.seed={options["randomness.seed"]}; leave one of them away')
    if args.resume not in (None, 'auto') and 'load_from' in options:
        raise InputError(f'--resume {args.resume} and load_from={options["load_from"]}; leave one of them away')
    work_dir = work_dir_of(config, args.work_dir, options)
    if is_field(config):
        if args.launcher != 'none' or args.amp or args.precision not in (None, DEFAULT):
            raise InputError('--launcher, --amp, --precision: a field is trained by one process in fp32; leave them')
        train_field(config, work_dir, args.seed, args.resume)
        return
    train(config, work_dir, args.seed, args.amp, args.resume, args.launcher, args.precision)


if __name__ == '__main__':
    main()
