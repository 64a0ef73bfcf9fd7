"""Export what the teacher of a scene sees, for students: render_scene_nerf.py CONFIG CKPT --out DIR."""

from __future__ import annotations

import argparse
import sys

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.command_line import add_teacher_export, config_parser, view_words
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.teachers import TeacherSource, export_scene
from projects.DistillNeRF.scene_nerf.settings import SECTION, size
from projects.DistillNeRF.utils.errors import command


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = config_parser(__doc__)
    add_teacher_export(parser, 'the teacher root (docs/DATA.md)', required=True)
    parser.add_argument('--workers', type=int, default=1, help='processes; each holds the teacher')
    parser.add_argument('--no-report', action='store_true', help='files alone, no OUT/reports/SCENE')
    return parser.parse_args(view_words(sys.argv[1:]))


@command
def main() -> None:
    """Export, and print what was done."""
    args = parse_args()
    require_one_process()
    config = load_config(args.config, args.cfg_options, sections=(SECTION,))
    source = TeacherSource(config, args.checkpoint, args.method, args.device)
    chosen = None if args.size is None else size(args.size, '--size')
    for line in export_scene(source, args.out, args.views, chosen, args.workers, not args.no_report):
        print(line)


if __name__ == '__main__':
    main()
