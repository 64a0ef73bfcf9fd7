"""Evaluate: python tools/test.py CONFIG CKPT [--eval psnr ...] [--protocol NAME] [--baselines] [--out r.json]."""

from __future__ import annotations

import argparse

from projects.DistillNeRF.configuration.config import load_config, work_dir_of
from projects.DistillNeRF.configuration.keys import PICTURES, RUN_BY_TESTS, warn_of_unread
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.engine.command_line import (
    add_launcher,
    add_precision,
    add_trajectory,
    config_parser,
    file_path,
)
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.evaluate import EVALUATIONS, RECOLORINGS, baselines, evaluate, with_recoloring
from projects.DistillNeRF.engine.machine import machine
from projects.DistillNeRF.engine.protocols import protocol_lines, with_protocol
from projects.DistillNeRF.engine.result_files import Results, check_results_path, tables_of_parts, write_results
from projects.DistillNeRF.engine.warped_baseline import share_lines
from projects.DistillNeRF.engine.worst_samples import check_panels, draw_worst
from projects.DistillNeRF.evaluation.paper import paper_columns
from projects.DistillNeRF.evaluation.parts import KINDS
from projects.DistillNeRF.evaluation.protocols import PAPER_PROTOCOL, PROTOCOLS
from projects.DistillNeRF.evaluation.report import compare
from projects.DistillNeRF.utils.errors import InputError, command
from projects.DistillNeRF.utils.provenance import commit


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    about = "default: all that the data allow, and what else the config's test_evaluator has"
    choices = sorted(EVALUATIONS)
    parser.add_argument('--eval', nargs='+', action='extend', choices=choices, dest='evaluations', help=about)
    about = 'published way to choose frames and to score them (docs/EVALUATION.md#protocols)'
    parser.add_argument('--protocol', choices=PROTOCOLS, help=about)
    add_trajectory(parser, default=None)
    about = 'images after the best change of their colors, too: of each alone (image), or as published'
    parser.add_argument('--recolor', nargs='?', const='image', choices=RECOLORINGS, help=about)
    about = 'also what needs no model: mean images, median depth, warped images, empty grids, the truth'
    parser.add_argument('--baselines', action='store_true', help=about)
    about = 'figures of parts, too: of each camera, scene, range of distances, and of what moves'
    parser.add_argument('--by', nargs='+', action='extend', choices=KINDS, default=[], help=about)
    about = '.json of all figures and those of each sample, .csv of a row per figure, or .md of the table; repeatable'
    parser.add_argument('--out', type=file_path, action='append', default=[], help=about)
    about = 'draw the N worst samples and the median one, by PSNR or else by the error of depth, into the work dir'
    parser.add_argument('--panels', type=int, metavar='N', help=about)
    parser.add_argument('--work-dir', type=file_path, help='where logs and panels go; default: work_dirs/CONFIG')
    add_launcher(parser)
    add_precision(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Print one table of all figures; of several processes the main one does."""
    args = parse_args()
    if args.launcher == 'none':
        require_one_process(launchers=True)
    if args.trajectory is not None and args.protocol != 'true_views':
        raise InputError('--trajectory would do nothing without --protocol true_views; give it, too, or leave it away')
    config = load_config(args.config, args.cfg_options)
    train = ('train_dataloader.dataset', 'train_dataloader.num_workers') if args.baselines else ()
    warn_of_unread(args.cfg_options, (*RUN_BY_TESTS, 'test_cfg', 'test_evaluator', 'work_dir', *train), but=PICTURES)
    work_dir = work_dir_of(config, args.work_dir, args.cfg_options)
    for path in args.out:
        check_results_path(path)
    if args.panels is not None:
        check_panels(args.panels, args.checkpoint)
    if args.baselines:
        build_dataset(config, 'train')  # what is wrong with it is better known before the evaluation
    if args.protocol is not None:
        config = with_protocol(config, args.protocol, args.trajectory or 'left_right')
    if args.recolor is not None:
        config = with_recoloring(config, args.evaluations, args.recolor)
    found = evaluate(config, args.checkpoint, work_dir, args.evaluations, args.launcher, args.precision, args.by)
    if found is None:
        return
    others = baselines(config, found.figures) if args.baselines else {}
    about = {'config': args.config, 'checkpoint': args.checkpoint, 'commit': commit(), **machine()}
    paper = {}
    if args.protocol in (None, PAPER_PROTOCOL):
        paper = paper_columns(args.config, recolored=args.recolor == 'published')
    results = Results(about, found, others, paper)
    if found.protocol is not None:
        print(f'{protocol_lines(found.protocol)}\n')
    print(compare(found.figures, results.compared, found.intervals))
    for line in share_lines(others):
        print(line)
    for text in tables_of_parts(found.parts):
        print(f'\n{text}')
    for path in args.out:
        write_results(path, results)
        print(f'wrote {path}')
    if args.panels is not None:
        for path in draw_worst(config, args.checkpoint, work_dir, found.samples, args.panels, args.precision):
            print(f'wrote {path}', flush=True)


if __name__ == '__main__':
    main()
