"""Time and memory of every stage, ours beside the published way: python tools/benchmark.py [--json FILE]"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from projects.DistillNeRF.benchmark.cases import Case, run
from projects.DistillNeRF.benchmark.scenes import SIZES
from projects.DistillNeRF.benchmark.stages import METHODS, STAGES, Measured, ceilings
from projects.DistillNeRF.errors import InputError, command
from projects.DistillNeRF.files import require_writable, save_json


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--size', choices=sorted(SIZES), nargs='+', default=['published'])
    parser.add_argument('--cameras', type=int, nargs='+', default=[1])
    parser.add_argument('--backward', action='store_true', help='training steps: forward with gradients, and backward')
    parser.add_argument('--method', choices=METHODS, nargs='+', default=list(METHODS))
    parser.add_argument('--repetitions', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--scaling', action='store_true', help='ours alone, for 1, 2, 3 and 6 cameras')
    parser.add_argument('--json', type=Path, help='write all figures to this file, too')
    return parser.parse_args()


def table(results: dict[str, Measured]) -> str:
    """Stages down, methods across; ratio plain / ours where there are both."""
    lines = [f'{"stage":20}' + ''.join(f'{name:>12}' for name in results) + f'{"ratio":>9}']
    for stage in (*STAGES, 'total'):
        values = [result.total if stage == 'total' else result.seconds.get(stage) for result in results.values()]
        if None in values:
            continue
        ratio = f'{values[1] / values[0]:9.1f}' if len(values) == 2 else ''
        lines.append(f'{stage:20}' + ''.join(f'{value:11.3f}s' for value in values) + ratio)
    peaks = [result.peak for result in results.values()]
    ratio = f'{peaks[1] / peaks[0]:9.1f}' if len(peaks) == 2 else ''
    lines.append(f'{"peak memory":20}' + ''.join(f'{peak:9.0f}MiB' for peak in peaks) + ratio)
    return '\n'.join(lines)


def rates(result: Measured) -> list[str]:
    """Work per second in convolutions and matrix products, for stages that consist of little else."""
    return [
        f'{stage:20}{result.gflop[stage]:8.1f} GFLOP {result.gflop[stage] / seconds:8.0f} GFLOP/s'
        for stage, seconds in result.seconds.items()
        if result.gflop.get(stage, 0) > 1
    ]


def about() -> dict[str, str]:
    """Machine and code."""
    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=root, capture_output=True, text=True)
    return {
        'commit': commit.stdout.strip() or 'unknown',
        'torch': torch.__version__,
        'threads': str(torch.get_num_threads()),
        'machine': platform.processor() or platform.machine(),
    }


@command
def main() -> None:
    """Print a table per size and number of cameras."""
    args = parse_args()
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        raise InputError(f'--device {args.device}: there is no CUDA GPU here; leave the option out')
    if min(args.cameras) < 1 or args.repetitions < 1:
        raise InputError('--cameras and --repetitions: give numbers of 1 or more')
    if args.json:
        require_writable(args.json.parent)
    facts = about()
    print(', '.join(f'{key} {value}' for key, value in facts.items()))
    limits = ceilings(torch.device(args.device))
    print('this machine: ' + ', '.join(f'{name} {rate:.0f} GFLOP/s' for name, rate in limits.items()))
    methods, cameras = (['ours'], [1, 2, 3, 6]) if args.scaling else (args.method, args.cameras)
    everything = []
    for size in args.size:
        for count in cameras:
            results = {
                method: run(Case(size, count, method, args.backward, args.repetitions, args.device))
                for method in methods
            }
            height, width = SIZES[size]
            cells = next(iter(results.values())).cells
            what = 'training step' if args.backward else 'forward'
            print(f'\n{size} {height}x{width}, {count} camera(s), {what}, cells {cells[0]:,} / {cells[1]:,}')
            for method, result in results.items():
                print('\n'.join(f'{method}: {line}' for line in rates(result)))
            print(table(results))
            figures = {method: {**asdict(result), 'total': result.total} for method, result in results.items()}
            everything.append({'size': size, 'cameras': count, 'backward': args.backward, 'figures': figures})
    if args.json:
        save_json(args.json, {**facts, 'ceilings': limits, 'measurements': everything}, indent=2)


if __name__ == '__main__':
    main()
