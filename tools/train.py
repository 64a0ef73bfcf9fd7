"""Train: python tools/train.py CONFIG [--work-dir DIR] [--cfg-options key=value ...]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from projects.DistillNeRF.engine.command_line import config_parser
from projects.DistillNeRF.engine.config import default_work_dir, load_config
from projects.DistillNeRF.engine.running import train
from projects.DistillNeRF.errors import command


def parse_args() -> argparse.Namespace:
    """The options."""
    parser = config_parser(__doc__, checkpoint=False)
    parser.add_argument('--work-dir', type=Path, help='where logs and checkpoints go; default: work_dirs/CONFIG')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on CUDA, bfloat16 elsewhere')
    parser.add_argument('--resume', nargs='?', const='auto', help='go on from a checkpoint; without a name, the newest')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none')
    # torchrun's predecessor passes it; the environment says the same.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


@command
def main() -> None:
    """Train as the config says."""
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    work_dir = args.work_dir or default_work_dir(args.config)
    train(config, work_dir, args.seed, args.amp, args.resume, args.launcher)


if __name__ == '__main__':
    main()
