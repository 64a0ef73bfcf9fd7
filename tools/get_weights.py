"""Get weights of foundation models: python tools/get_weights.py [NAME ..] [--list] [--for CONFIG]."""

from __future__ import annotations

import argparse
from pathlib import Path

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.command_line import Overrides, file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.get_weights import catalog_lines, chosen, get_all, need_lines
from projects.DistillNeRF.engine.needed_weights import needed_weights
from projects.DistillNeRF.foundation_models.catalog import FOLDER
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.files import is_folder


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help='weights to get; --list has their names')
    parser.add_argument('--list', action='store_true', help='show what there is or --for needs, and get nothing')
    about = 'show what a config needs, and get that without which it cannot be trained'
    parser.add_argument('--for', dest='config', metavar='CONFIG', help=about)
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, help='override settings of CONFIG: key=value ...')
    about = f'folder of all weights (default: {FOLDER}, where the configs look for them)'
    parser.add_argument('--out', type=file_path, default=Path(FOLDER), metavar='DIR', help=about)
    about = 'copy from this folder: another one of weights, a cache of the hub, or the files themselves'
    parser.add_argument('--from', dest='folder', type=file_path, metavar='DIR', help=about)
    return parser.parse_args()


@command
def main() -> None:
    """Show, or get."""
    args = parse_args()
    require_one_process()
    if args.list and args.names:
        raise InputError('--list shows all weights; leave it away to get those that are named')
    if args.cfg_options and args.config is None:
        raise InputError('--cfg-options changes the config of --for; give that, too')
    if args.folder is not None and not is_folder(args.folder):
        raise InputError(f'{args.folder}: no such folder; give one that has the weights with --from')
    needs = []
    if args.config is not None:
        config = load_config(args.config, args.cfg_options, sections=('model',))
        needs = needed_weights(config)
        print('\n'.join(need_lines(args.config, needs, args.out)))
    elif args.list or not args.names:
        print('\n'.join(catalog_lines(args.out)))
    if not args.list:
        for line in get_all(chosen(args.names, needs), args.out, args.folder):
            print(line, flush=True)


if __name__ == '__main__':
    main()
