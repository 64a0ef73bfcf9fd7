"""Evaluate: python tools/test.py CONFIG CKPT [--eval psnr depth novel_view] [--baselines] [--out results.json]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from projects.DistillNeRF.engine.command_line import config_parser
from projects.DistillNeRF.engine.config import default_work_dir, load_config
from projects.DistillNeRF.engine.running import EVALUATIONS, baselines, evaluate
from projects.DistillNeRF.errors import command
from projects.DistillNeRF.evaluation.report import compare
from projects.DistillNeRF.files import require_writable, save_json


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = config_parser(__doc__)
    parser.add_argument('--eval', nargs='+', choices=sorted(EVALUATIONS), default=list(EVALUATIONS), dest='evaluations')
    parser.add_argument('--baselines', action='store_true', help='also what needs no model: mean colour, mean images')
    parser.add_argument('--out', type=Path, help='write all figures to this JSON file')
    parser.add_argument('--work-dir', type=Path, help='where logs and panels go; default: work_dirs/CONFIG')
    return parser.parse_args()


@command
def main() -> None:
    """Print one table of all figures."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    work_dir = args.work_dir or default_work_dir(args.config)
    if args.out:
        require_writable(args.out.parent)
    model = evaluate(config, args.checkpoint, work_dir, args.evaluations)
    others = baselines(config) if args.baselines else {}
    print(compare(model, others))
    if args.out:
        save_json(
            args.out,
            {'config': args.config, 'checkpoint': args.checkpoint, 'model': model, 'baselines': others},
            indent=2,
        )
        print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
