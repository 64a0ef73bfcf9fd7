"""Repeat an experiment: python tools/experiment.py FILE.py [--work-dir DIR] [--workers N] [--runs NAME ...]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from projects.DistillNeRF.engine.command_line import file_path
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.experiment import make_runs, read_experiment, run_all
from projects.DistillNeRF.engine.experiment_report import write_report
from projects.DistillNeRF.engine.experiment_results import save_results, take_results
from projects.DistillNeRF.utils.errors import InputError, command


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('file', help='Python file that says what is trained (docs/EVALUATION.md)')
    parser.add_argument('--work-dir', type=file_path, help='a folder per run goes there; default: work_dirs/FILE')
    parser.add_argument('--workers', type=int, default=1, help='runs at a time, which share the cores; default: 1')
    parser.add_argument('--runs', nargs='+', metavar='NAME', help='these alone; default: all')
    parser.add_argument('--results', type=file_path, help='JSON file: figures in it are taken, new ones added')
    parser.add_argument('--table', action='store_true', help='train nothing, only write the table of what is there')
    return parser.parse_args()


@command
def main() -> None:
    """Train and test what is missing, and write the table; exit with 1 if a run failed."""
    args = parse_args()
    require_one_process()
    if args.workers < 1:
        raise InputError(f'--workers is {args.workers}; give 1 or more')
    experiment = read_experiment(args.file)
    if unknown := [name for name in args.runs or () if name not in experiment.settings]:
        raise InputError(f'--runs {unknown[0]}: {args.file} has {", ".join(experiment.settings)}')
    work_dir = args.work_dir or Path('work_dirs') / Path(args.file).stem
    runs = make_runs(experiment, work_dir)
    if args.results:
        take_results(experiment, runs, args.results)
    chosen = [] if args.table else [run for run in runs if args.runs is None or run.name in args.runs]
    failed = []
    for number, (run, problem) in enumerate(run_all(experiment, chosen, args.workers), 1):
        label = f'{run.name}, seed {run.seed}'
        print(f'[{number}/{len(chosen)}] {label}: {"done" if problem is None else f"failed: {problem}"}', flush=True)
        if problem is not None:
            failed.append(f'failed: {label}: {problem}')
        elif args.results:
            save_results(experiment, runs, args.results)
    print(write_report(runs, experiment, work_dir))
    print(f'wrote {work_dir}/table.md, results.json, curves.html')
    if failed:
        print('\n'.join([*failed, 'the same command goes on with what is missing']), file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    main()
