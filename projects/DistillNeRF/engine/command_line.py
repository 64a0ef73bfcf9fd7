"""Options that the command lines of several tools share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction

from ..datasets.teacher_files import ORIGINAL_VIEW
from ..geometry.trajectories import TRAJECTORIES
from ..scene_nerf.export import VIEWS
from ..utils.errors import InputError
from ..utils.precision import DEFAULT, PRECISIONS
from .distributed import LAUNCHERS
from .extraction import MOST_WORKERS, usual_workers
from .teachers import METHODS

# Spaces that are neither beside a comma nor a bracket nor a quote, and what stands for them meanwhile.
_BETWEEN_WORDS = re.compile(r"""(?<=[^\s,()\[\]'"])\s+(?=[^\s,()\[\]'"])""")
_SPACE = '\0'


class Overrides(DictAction):
    """Parse ``--cfg-options key=value ...``, once or several times; of one key the last value counts.

    Anything else is refused like every wrong argument. Texts keep the spaces between their words, which mmengine drops.
    """

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """Parse a value, or values with commas between them."""
        return _with_spaces(DictAction._parse_iterable(_BETWEEN_WORDS.sub(_SPACE, val)))

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Parse the pairs."""
        for value in values:
            if not value.partition('=')[0] or '=' not in value:
                parser.error(f'argument {option_string}: {value!r} is not of the form key=value')
        before = dict(getattr(namespace, self.dest) or {})
        super().__call__(parser, namespace, values, option_string)
        setattr(namespace, self.dest, before | getattr(namespace, self.dest))


def _with_spaces(value: Any) -> Any:
    """Put the spaces back into a text, or into those of a list or tuple."""
    if isinstance(value, list | tuple):
        return type(value)(_with_spaces(part) for part in value)
    return value.replace(_SPACE, ' ') if isinstance(value, str) else value


def config_parser(
    description: str | None, checkpoint: bool = True, folder: str | None = None, optional: bool = False
) -> argparse.ArgumentParser:
    """Make a parser of ``[FOLDER] CONFIG [CKPT] [--cfg-options key=value ...]``.

    Args:
        description: of the command.
        checkpoint: whether there is a checkpoint; ``None`` on the command line becomes ``None``.
        folder: what is in the folder; ``None`` if the command takes none.
        optional: config and checkpoint may be left away; then the result has no attribute ``checkpoint``.
    """
    parser = argparse.ArgumentParser(description=description)
    if folder is not None:
        parser.add_argument('folder', type=file_path, help=folder)
    count = {'nargs': '?'} if optional else {}
    parser.add_argument('config', type=_expanded, help='config file', **count)
    if checkpoint:
        about = 'checkpoint, or None for random weights'
        left_out = {**count, 'default': argparse.SUPPRESS} if optional else {}
        parser.add_argument('checkpoint', type=_checkpoint_or_none, help=about, **left_out)
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, help='override settings: key=value ...')
    return parser


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher NAME``: what started this process."""
    about = 'what started this process as one of several; default: nothing'
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help=about)
    # torchrun's predecessor passes it; the environment says the same.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_precision(parser: argparse.ArgumentParser, default: str | None = DEFAULT) -> None:
    """Add ``--precision NAME`` (:mod:`..utils.precision`)."""
    about = 'fp32 (default): no TF32; tf32: tensor cores of GPUs; bf16; fp16: GPUs only'
    parser.add_argument('--precision', choices=PRECISIONS, default=default, help=about)


def add_trajectory(parser: argparse.ArgumentParser, default: str | None = 'left_right') -> None:
    """Add ``--trajectory NAME``: a name, or a JSON file of poses."""
    parser.add_argument(
        '--trajectory',
        type=_trajectory,
        default=default,
        help=f'{", ".join(TRAJECTORIES)}, or a .json file of poses (docs/VISUALIZATION.md)',
    )


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add ``--method NAME``: which teacher."""
    about = 'scene_nerf (default): the field of a checkpoint; lidar: all LiDAR of the scene, without training'
    parser.add_argument('--method', choices=METHODS, default=METHODS[0], help=about)


def add_teacher_export(parser: argparse.ArgumentParser, out: str, required: bool) -> None:
    """Add ``--out``, ``--method``, ``--views``, ``--size``, ``--device``: what is exported by which teacher, and where.

    Args:
        parser: of the command; it parses :func:`view_words`.
        out: what is said about ``--out``.
        required: whether that has to be given.
    """
    parser.add_argument('--out', type=file_path, required=required, help=out)
    add_method(parser)
    about = 'views to export: the original one, and shifts of the camera in meters; default: all'
    parser.add_argument('--views', nargs='+', type=_view, default=VIEWS, metavar='VIEW', help=about)
    about = 'height and width of the files; default: scene_nerf.image_size of the config'
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help=about)
    parser.add_argument('--device', help='where a field is rendered: cpu (default), cuda, ...')


def add_images(parser: argparse.ArgumentParser, out: str) -> None:
    """Add what all commands take that make files from the images of info files (:mod:`.extraction`).

    Args:
        parser: of the command.
        out: what is said about ``--out``.
    """
    parser.add_argument('--data', nargs='+', type=file_path, required=True, metavar='INFOS', help='info files')
    parser.add_argument('--root', type=file_path, help='folder of the images; default: that of each info file')
    parser.add_argument('--out', type=file_path, required=True, help=out)
    parser.add_argument('--cameras', nargs='+', help='names of cameras; default: all')
    parser.add_argument('--skip-missing', action='store_true', help='leave out images that are not there')
    about = 'none (default): this process; slurm: an array of jobs, through submitit'
    parser.add_argument('--launcher', choices=('none', 'slurm'), default='none', help=about)
    about = 'with --launcher slurm: of submitit, such as timeout_min=60 gpus_per_node=1 slurm_partition=NAME'
    parser.add_argument('--slurm', nargs='+', action=Overrides, metavar='key=value', help=about)
    parser.add_argument('--jobs', type=_positive, help='with --launcher slurm: number of jobs; default: 8')
    parser.add_argument('--part', type=_part, metavar='K/N', help='the K-th of N parts of the images alone, from 1')


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Add how a model of images computes."""
    parser.add_argument('--batch', type=_positive, default=8, help='images that are computed at once; default: 8')
    about = f'threads that read, and that write; default: one per core beside the model, at most {MOST_WORKERS}'
    parser.add_argument('--workers', type=_positive, default=usual_workers(), help=about)
    about = 'where the model runs: cpu (default), cuda, ...'
    parser.add_argument('--device', default=str(torch.get_default_device()), help=about)


def add_extraction(parser: argparse.ArgumentParser, out: str) -> None:
    """Add :func:`add_images`, :func:`add_computing`, and which views of a teacher are taken, too.

    Args:
        parser: of the command; it parses :func:`view_words`.
        out: what is said about ``--out``.
    """
    add_images(parser, out)
    about = 'root of a teacher: images of shifted views that it rendered are taken, too'
    parser.add_argument('--teacher', type=file_path, metavar='DIR', help=about)
    about = 'views to take; default: the original one, with --teacher all'
    parser.add_argument('--views', nargs='+', type=_view, metavar='VIEW', help=about)
    add_computing(parser)


def extraction_views(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the views that the options of :func:`add_extraction` ask for.

    Raises:
        InputError: options that contradict each other.
    """
    check_launcher(args)
    views = tuple(args.views or (VIEWS if args.teacher else (ORIGINAL_VIEW,)))
    if args.teacher and set(views) == {ORIGINAL_VIEW}:
        raise InputError(f'--teacher would do nothing for --views {ORIGINAL_VIEW}; leave one of the two away')
    return views


def check_launcher(args: argparse.Namespace) -> None:
    """Check how the jobs of :func:`add_images` are started.

    Raises:
        InputError: options that contradict each other.
    """
    if args.part is None and args.launcher != 'slurm':
        for option, value in (('--slurm', args.slurm), ('--jobs', args.jobs)):
            if value is not None:
                raise InputError(f'{option} would do nothing without --launcher slurm; give it, too, or leave it away')
    if args.part is not None and args.launcher == 'slurm':
        raise InputError('--part is what the jobs of --launcher slurm are given; leave one of the two away')


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number of 1 or more')
    return int(text)


def _part(text: str) -> tuple[int, int]:
    """Return (k, n), k from 0."""
    number, _, count = text.partition('/')
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f'{text!r} is no part such as 1/8')
    return int(number) - 1, int(count)


def view_words(words: Sequence[str]) -> list[str]:
    """Mark views such as ``-1_0_0`` in a command line, which argparse would take for options, by a space."""
    return [f' {word}' if word in VIEWS else word for word in words]


def _view(name: str) -> str:
    view = name.strip()
    if view not in VIEWS:
        raise argparse.ArgumentTypeError(f'{view!r} is no view; choose from {" ".join(VIEWS)}')
    return view


def _trajectory(name: str) -> str:
    if name not in TRAJECTORIES and not name.endswith('.json'):
        raise argparse.ArgumentTypeError(
            f'{name!r} is no trajectory; choose from {", ".join(TRAJECTORIES)}, or give a .json file of poses'
        )
    return name


def _checkpoint_or_none(name: str) -> str | None:
    return None if name == 'None' else _expanded(name)


def file_path(name: str) -> Path:
    """Return the path of an argument; ``~`` is the home folder, also in ``--option=~/name``, which no shell expands."""
    return Path(name).expanduser()


def _expanded(name: str) -> str:
    return str(file_path(name))


def refuse_together(args: argparse.Namespace, option: str, others: Sequence[str], why: str) -> None:
    """Refuse options that do nothing beside another one.

    Args:
        args: parsed options; one that was not given is ``None`` or False.
        option: as on the command line, such as ``--truth``.
        others: options that do nothing beside it.
        why: the reason, such as ``looks at every pose``.

    Raises:
        InputError: they are given together.
    """
    if _given(args, option) and (idle := [other for other in others if _given(args, other)]):
        raise InputError(f'{option} {why}: {", ".join(idle)} would do nothing; leave one of the two away')


def refuse_without(args: argparse.Namespace, option: str, others: Sequence[str]) -> None:
    """Refuse options that do nothing without another one, as :func:`refuse_together`."""
    if not _given(args, option) and (idle := [other for other in others if _given(args, other)]):
        raise InputError(f'{", ".join(idle)} would do nothing without {option}; give it, too, or leave {idle[0]} away')


def _given(args: argparse.Namespace, option: str) -> bool:
    return getattr(args, option.lstrip('-').replace('-', '_'), None) not in (None, False)
