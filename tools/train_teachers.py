"""Train and export the teachers of many scenes: train_teachers.py CONFIG [--scenes A B] [--workers N]."""

from __future__ import annotations

import argparse
import sys

from projects.DistillNeRF.configuration.config import load_config, work_dir_of
from projects.DistillNeRF.engine.command_line import (
    Overrides,
    add_teacher_export,
    config_parser,
    file_path,
    view_words,
)
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.teacher_jobs import LAUNCHERS, MOST_JOBS, make_jobs, run_here, run_on_cluster
from projects.DistillNeRF.engine.teachers import require_field
from projects.DistillNeRF.scene_nerf.settings import SECTION, size
from projects.DistillNeRF.utils.errors import InputError, command


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__, checkpoint=False)
    parser.add_argument('--scenes', nargs='+', help='names of scenes; default: all in the info files of the config')
    add_teacher_export(parser, 'the teacher root (docs/DATA.md); default: WORK_DIR/teacher', required=False)
    parser.add_argument('--work-dir', type=file_path, help='a folder per scene goes there; default: work_dirs/CONFIG')
    parser.add_argument('--workers', type=int, help='scenes at a time; default: 1 here, 256 on a cluster')
    about = 'none (default): processes on this machine; slurm: an array of jobs, through submitit'
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help=about)
    about = 'with --launcher slurm: of submitit, such as timeout_min=60 gpus_per_node=1 slurm_partition=NAME'
    parser.add_argument('--slurm', nargs='+', action=Overrides, metavar='key=value', help=about)
    parser.add_argument('--no-report', action='store_true', help='files alone, no OUT/reports/SCENE')
    return parser.parse_args(view_words(sys.argv[1:]))


@command
def main() -> None:
    """Work on all scenes; exit with 1 if one failed."""
    args = parse_args()
    require_one_process()
    if args.slurm and args.launcher != 'slurm':
        raise InputError('--slurm would do nothing without --launcher slurm; give it, too, or leave --slurm away')
    if args.workers is not None and args.workers < 1:
        raise InputError(f'--workers is {args.workers}; give 1 or more')
    require_field(args.method, args.device)
    config = load_config(args.config, args.cfg_options, sections=(SECTION,))
    work_dir = work_dir_of(config, args.work_dir, args.cfg_options)
    out = (args.out or work_dir / 'teacher').absolute()
    export = ['--out', str(out), '--views', *args.views]
    export += [] if args.size is None else ['--size', *map(str, size(args.size, '--size'))]
    export += [] if args.device is None else ['--device', args.device]
    export += ['--no-report'] if args.no_report else []
    jobs = make_jobs(config, args.scenes, work_dir / 'scenes', args.method, export)
    if args.launcher == 'slurm':
        # Submitted when the first result is asked for.
        ended = run_on_cluster(jobs, work_dir.absolute() / 'slurm', args.workers or MOST_JOBS, args.slurm or {})
    else:
        ended = run_here(jobs, args.workers or 1)
    failed = {}
    for number, (job, problem) in enumerate(ended, 1):
        print(f'[{number}/{len(jobs)}] {job.scene}: {"done" if problem is None else f"failed: {problem}"}', flush=True)
        if problem is not None:
            failed[job.scene] = problem
    print(f'{out}: {len(jobs) - len(failed)} of {len(jobs)} scenes are done')
    if failed:
        for scene, problem in failed.items():
            print(f'failed: {scene}: {problem}', file=sys.stderr)
        print('the same command goes on with what is missing', file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    main()
