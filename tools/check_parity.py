"""Compare every stage of the network with stored numbers: python tools/check_parity.py tests/data/parity"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import torch

from projects.DistillNeRF.apis import to_device
from projects.DistillNeRF.engine.command_line import file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.utils.errors import command
from projects.DistillNeRF.utils.files import require_writable, save_json
from verification.parity.checks import check_all
from verification.parity.vectors import Vectors

EXIT_DIFFERENT = 1


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('vectors', type=file_path, help='folder of parity vectors')
    parser.add_argument('--variant', action='append', default=[], help='only this published variant (may be repeated)')
    parser.add_argument('--json', type=file_path, help='write the table to this file, too')
    parser.add_argument('--device', default='cpu', help='where the networks compute, such as cuda; in true float32')
    return parser.parse_args()


@command
def main() -> None:
    """Print the table; exit code 1 if anything differs by more than its bound."""
    args = parse_args()
    require_one_process()
    device = to_device(torch.empty(0), args.device).device
    if args.json:
        require_writable(args.json.parent)
    report, unused = check_all(Vectors(args.vectors, device), args.variant)
    print(report)
    if unused:
        print(f'\nnothing here to compare with (inputs are among them): {", ".join(unused)}')
    failed = sum(not row.passed for row in report.rows)
    for heading, count in Counter(row.stage.partition(': ')[0] for row in report.rows).items():
        print(f'{count:4d} comparisons: {heading}')
    print(f'\n{len(report.rows) - failed} of {len(report.rows)} comparisons pass')
    if args.json:
        save_json(args.json, {'rows': report.as_dicts(), 'not_compared': unused, 'passed': report.passed}, indent=2)
    if failed:
        sys.exit(EXIT_DIFFERENT)


if __name__ == '__main__':
    main()
