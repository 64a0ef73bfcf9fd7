"""The command line of the scripts that measure a teacher: CONFIG CHECKPOINT [--method lidar] [--cfg-options ...]."""

from __future__ import annotations

import argparse

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.command_line import add_method, config_parser
from projects.DistillNeRF.engine.teachers import TeacherSource
from projects.DistillNeRF.scene_nerf.settings import SECTION


def parse_teacher(about: str | None) -> TeacherSource:
    """Parse the command line, and return the teacher that it names.

    Args:
        about: what the script does, for ``--help``.

    Raises:
        InputError: a bad config, or a checkpoint that is missing or not needed.
    """
    parser = config_parser(about)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_method(parser)
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options, sections=(SECTION,))
    source = TeacherSource(config, args.checkpoint, args.method)
    source.check()
    return source
