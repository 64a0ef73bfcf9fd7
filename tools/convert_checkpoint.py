"""Convert a checkpoint of the published code to ours: python tools/convert_checkpoint.py published.pth ours.pth"""

from __future__ import annotations

import argparse

from projects.DistillNeRF.engine.command_line import file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.models.conversion import as_checkpoint, convert, read_published
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.utils.files import require_writable
from projects.DistillNeRF.utils.torch_files import save_torch


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('published', type=file_path, help='checkpoint of the published code')
    parser.add_argument('ours', type=file_path, help='where to write')
    parser.add_argument('--unsafe-pickle', action='store_true', help='run code in the file; only if you trust it')
    return parser.parse_args()


@command
def main() -> None:
    """Write the converted checkpoint, and print what became of its entries."""
    args = parse_args()
    require_one_process()
    require_writable(args.ours.parent)
    converted = convert(read_published(args.published, args.unsafe_pickle), args.published)
    save_torch(args.ours, as_checkpoint(converted, args.published.name))
    print(f'{len(converted.weights)} weights, which fit {", ".join(converted.variants)}')
    for reason, count in sorted(converted.dropped.items()):
        print(f'left out: {count} of the {reason}')
    print(f'wrote {args.ours}')


if __name__ == '__main__':
    main()
