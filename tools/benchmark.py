"""Time and memory of every stage, ours beside the published way: python tools/benchmark.py [--json FILE]"""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict

import torch

from projects.DistillNeRF.engine.command_line import file_path, refuse_together
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.evaluation.report import text_table
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.files import require_writable, save_json
from projects.DistillNeRF.utils.provenance import commit
from verification.benchmark.cases import Case, in_fresh_process, run, scaling
from verification.benchmark.profiler import Work, ceilings, rates_text
from verification.benchmark.scenes import SIZES
from verification.benchmark.stages import METHODS, STAGES, Measurement


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--size', choices=sorted(SIZES), nargs='+', default=['published'])
    parser.add_argument('--cameras', type=int, nargs='+', help='default: 1')
    parser.add_argument('--backward', action='store_true', help='training steps: forward with gradients, and backward')
    parser.add_argument('--method', choices=sorted(METHODS), nargs='+', help='default: all')
    parser.add_argument('--repetitions', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--scaling', action='store_true', help='how our time grows with cameras, rays and voxels')
    parser.add_argument('--floor', action='store_true', help='what every stage costs at least: its products, its bytes')
    parser.add_argument('--json', type=file_path, help='write all figures to this file, too')
    return parser.parse_args()


def table(results: dict[str, Measurement]) -> str:
    """Return a table with a row per stage, columns per method and direction, and ratios plain / ours if both ran."""
    directions = [name for name in ('forward', 'backward') if any(getattr(r, name) for r in results.values())]
    columns = [(method, direction) for direction in directions for method in results]
    both = len(results) == 2
    head = [f'{method} {direction}' for method, direction in columns]
    rows = []
    for stage in (*STAGES, 'losses', 'all stages'):
        values = [_time(getattr(results[method], direction), stage) for method, direction in columns]
        if not any(values):
            continue
        pairs = zip(values[::2], values[1::2], strict=True) if both else ()
        ratios = [f'{plain / max(ours, 1e-9):.1f}' for ours, plain in pairs]
        rows.append([stage, *(f'{value:.3f} s' for value in values), *ratios])
    return text_table(['stage', *head, *['ratio'] * (both * len(directions))], rows)


def _time(seconds: dict[str, float], stage: str) -> float:
    return sum(seconds.values()) if stage == 'all stages' else seconds.get(stage, 0.0)


def memory(results: dict[str, Measurement]) -> str:
    """Return a table of the peak memory of every stage in the first repetition, MiB."""
    stages = list(next(iter(results.values())).peaks)
    rows = [[stage, *(f'{result.peaks.get(stage, 0):.0f}' for result in results.values())] for stage in stages]
    return text_table(['peak memory, MiB', *results], rows)


def totals(results: dict[str, Measurement]) -> str:
    """Return the last lines: total time, peak memory, and ratios."""
    rows = {
        'total seconds': [result.total for result in results.values()],
        'peak MiB': [result.peak for result in results.values()],
    }
    lines = []
    for name, values in rows.items():
        ratio = f', ratio {values[1] / values[0]:.2f}' if len(values) == 2 else ''
        lines.append(f'{name}: ' + ', '.join(f'{m} {v:.3f}' for m, v in zip(results, values, strict=True)) + ratio)
    return '\n'.join(lines)


def rates(result: Measurement, limits: dict[str, float]) -> str:
    """Return which share of the machine's ceiling convolutions and matrix products reach."""
    lines = []
    for direction, stages in result.work.items():
        kinds: dict[str, Work] = {}
        for kind, work in ((kind, work) for stage in stages.values() for kind, work in stage.items()):
            before = kinds.get(kind, Work())
            kinds[kind] = Work(before.gflop + work.gflop, before.seconds + work.seconds)
        gflop, seconds = (sum(getattr(work, name) for work in kinds.values()) for name in ('gflop', 'seconds'))
        ideal = sum(work.gflop / limits[kind] for kind, work in kinds.items())
        each = ', '.join(f'{kind}s {work.gflop / work.seconds:.0f}' for kind, work in kinds.items())
        share = f'{ideal / seconds:.0%} of the ceilings'
        lines.append(f'{direction}: {gflop:.0f} GFLOP in {seconds:.3f} s, {share} (GFLOP/s: {each})')
    return '\n'.join(lines)


def floors(result: Measurement, limits: dict[str, float]) -> str:
    """Return a table of what each stage costs at least: its products at the ceilings, its bytes in a copy."""
    rows = []
    for direction in ('forward', 'backward'):
        for stage, seconds in getattr(result, direction).items():
            work = result.work.get(direction, {}).get(stage, {})
            gflop = sum(one.gflop for one in work.values())
            gigabytes = result.moved[direction].get(stage, 0) / 1e9
            products = sum(one.gflop / limits[kind] for kind, one in work.items())
            copies = gigabytes / limits['copy']
            share = max(products, copies) / max(seconds, 1e-9)
            times = [f'{value:.4f}' for value in (seconds, products, copies)]
            rows.append(
                [stage, direction, times[0], f'{gflop:.1f}', times[1], f'{gigabytes:.3f}', times[2], f'{share:.0%}']
            )
    return text_table(
        ['stage', 'pass', 'seconds', 'GFLOP', 'floor, s', 'GB', 'floor, s', 'floor / time'], rows, left=(0, 1)
    )


def about() -> dict[str, str]:
    """Return facts about the machine and the code."""
    return {
        'commit': commit(),
        'torch': torch.__version__,
        'threads': str(torch.get_num_threads()),
        'machine': platform.processor() or platform.machine(),
    }


def measure_stages(size: str, count: int, args: argparse.Namespace, limits: dict[str, float]) -> dict:
    """Print one comparison; return its figures."""
    cases = {method: Case(size, count, method, args.backward, args.repetitions, args.device) for method in args.method}
    results = {method: run(case) for method, case in cases.items()}
    height, width = SIZES[size]
    cells = next(iter(results.values())).cells
    direction = 'forward and backward' if args.backward else 'forward'
    print(f'\n{size} {height}x{width}, {count} camera(s), {direction}, cells {cells[0]:,} / {cells[1]:,}')
    for method, result in results.items():
        print('\n'.join(f'{method} {line}' for line in rates(result, limits).splitlines()))
    print(table(results))
    if args.floor:
        print(''.join(f'\n{method}\n{floors(result, limits)}\n' for method, result in results.items()))
    print(f'\n{memory(results)}\n')
    print(totals(results))
    figures = {method: result.figures() for method, result in results.items()}
    return {'size': size, 'cameras': count, 'backward': args.backward, 'figures': figures}


def measure_scaling(size: str, args: argparse.Namespace) -> dict:
    """Print how the time of our forward pass grows; return the figures."""
    result = scaling(Case(size, 1, 'ours', False, args.repetitions, args.device))
    for name, times in asdict(result).items():
        rows = [[f'{number:,}', f'{seconds:.3f}'] for number, seconds in times.items()]
        print(f'\n{size}: seconds by number of {name}')
        print(text_table([name, 'seconds'], rows, left=()))
    return {'size': size, 'scaling': asdict(result)}


@command
def main() -> None:
    """Print a table per size and number of cameras."""
    args = parse_args()
    require_one_process()
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        raise InputError(f'--device {args.device}: there is no CUDA GPU here; leave the option out')
    refuse_together(
        args, '--scaling', ('--cameras', '--backward', '--method', '--floor'), 'measures our forward pass alone'
    )
    args.cameras, args.method = args.cameras or [1], args.method or list(METHODS)
    if min(args.cameras) < 1 or args.repetitions < 1:
        raise InputError('--cameras and --repetitions: give numbers of 1 or more')
    if args.json:
        require_writable(args.json.parent)
    facts = about()
    print(', '.join(f'{key} {value}' for key, value in facts.items()))
    limits = in_fresh_process(ceilings, torch.device(args.device))
    print(f'this machine: {rates_text(limits)}')
    everything = [measure_scaling(size, args) for size in args.size] if args.scaling else []
    if not args.scaling:
        everything = [measure_stages(size, count, args, limits) for size in args.size for count in args.cameras]
    if args.json:
        save_json(args.json, {**facts, 'ceilings': limits, 'measurements': everything}, indent=2)


if __name__ == '__main__':
    main()
