"""Options that the tools that extract maps of images share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..foundation_models.map_network import Size
from ..foundation_models.preprocess import NORMALIZATIONS
from ..foundation_models.segmentation import OnnxOptions
from ..scene_nerf.settings import size
from ..utils.errors import InputError
from .command_line import file_path
from .extraction import ExtractionOptions, ImageTask, NameFiles, list_tasks


def add_data(parser: argparse.ArgumentParser, out: str) -> None:
    """Add which images are read, and where files go.

    Args:
        parser: of the command.
        out: what is said about ``--out``.
    """
    parser.add_argument('--data', nargs='+', type=file_path, required=True, metavar='INFOS', help='info files')
    parser.add_argument('--out', type=file_path, required=True, help=out)
    parser.add_argument('--root', type=file_path, help='folder of the images; default: that of each info file')
    parser.add_argument('--cameras', nargs='+', help='default: all')
    about = 'of the files; default: as large as what the network gives, in the shape of the image'
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help=about)
    parser.add_argument('--frames', nargs=2, type=int, metavar=('FIRST', 'LAST'), help='keyframes; default: all')
    parser.add_argument('--workers', type=int, default=2, help='threads that read images (default: 2)')


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add which network computes, and how."""
    about = 'a folder of transformers, the name of a model in the local cache of the hub, or an ONNX file'
    parser.add_argument('--model', required=True, help=about)
    about = 'in which the network sees images; default: as its files say'
    parser.add_argument('--input-size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help=about)
    parser.add_argument('--batch', type=int, default=4, help='images at a time (default: 4)')
    parser.add_argument('--device', default='cpu', help='cpu (default), cuda, ...')


def add_onnx(parser: argparse.ArgumentParser) -> None:
    """Add what an ONNX file does not say itself."""
    about = 'of its input; default: as the JSON beside it says'
    parser.add_argument('--normalization', choices=tuple(NORMALIZATIONS), help=about)
    parser.add_argument('--bgr', action='store_true', help='it takes blue first; with --normalization')
    parser.add_argument('--output-name', help='its output; default: the first that is a map')


def onnx_options(args: argparse.Namespace) -> OnnxOptions:
    """Return what the command line says of an ONNX file.

    Raises:
        InputError: options that would do nothing.
    """
    if args.bgr and args.normalization is None:
        raise InputError('--bgr would do nothing without --normalization; give it, too')
    return OnnxOptions(
        args.normalization, args.bgr, args.output_name, pair(args.input_size, '--input-size'), args.device
    )


def pair(value: list[int] | None, name: str) -> Size | None:
    """Return a (height, width), or None.

    Raises:
        InputError: a side is below 1.
    """
    return None if value is None else size(value, name)


def tasks_of(args: argparse.Namespace, name_files: NameFiles) -> list[ImageTask]:
    """List the images of the command line.

    Raises:
        InputError: as :func:`.extraction.list_tasks`, or there are none of these keyframes.
    """
    tasks = list_tasks(args.data, name_files, args.root, cameras=args.cameras)
    if args.frames is None:
        return tasks
    first, last = args.frames
    chosen = [task for task in tasks if first <= task.info['frame'] <= last]
    if not chosen:
        frames = [task.info['frame'] for task in tasks]
        raise InputError(
            f'{args.data[0]}: --frames {first} {last} has no keyframe; there are {min(frames)} to {max(frames)}'
        )
    return chosen


def extraction_options(args: argparse.Namespace, name: str, settings: Mapping[str, Any]) -> ExtractionOptions:
    """Return where files go.

    Raises:
        InputError: numbers below 1.
    """
    batch = getattr(args, 'batch', 1)
    for option, value in (('--batch', batch), ('--workers', args.workers)):
        if value < 1:
            raise InputError(f'{option} is {value}; give 1 or more')
    return ExtractionOptions(Path(args.out), name, settings, batch, args.workers)
