"""Options that the tools that make masks and depth of images share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from ..foundation_models.map_network import Size
from ..foundation_models.preprocess import NORMALIZATIONS
from ..foundation_models.segmentation import OnnxOptions
from ..scene_nerf.settings import size
from ..utils.errors import InputError
from .command_line import add_computing, add_images, check_launcher
from .extraction import ExtractionOptions, ImageTask, NameFiles, list_tasks
from .extraction_jobs import run_parts

JOBS = 8


def add_maps(parser: argparse.ArgumentParser, out: str) -> None:
    """Add which images are read, and where their maps go.

    Args:
        parser: of the command.
        out: what is said about ``--out``.
    """
    add_images(parser, out)
    about = 'of the maps; default: as large as what the network gives, in the shape of the image'
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help=about)
    parser.add_argument('--frames', nargs=2, type=int, metavar=('FIRST', 'LAST'), help='keyframes; default: all')


def add_network(parser: argparse.ArgumentParser, onnx: bool) -> None:
    """Add which network computes, and how.

    Args:
        parser: of the command.
        onnx: whether it is an ONNX file, which does not say everything itself.
    """
    about = 'an ONNX file' if onnx else 'a folder of transformers, or the name of a model in the local cache of the hub'
    parser.add_argument('--model', required=True, help=about)
    about = 'in which the network sees images; default: as its files say'
    parser.add_argument('--input-size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help=about)
    add_computing(parser)
    if onnx:
        about = (
            'colors as the model takes them: unit 0 to 1, byte 0 to 255, half -1 to 1, or scaled as named; '
            'default: as the JSON beside it says'
        )
        parser.add_argument('--normalize', choices=tuple(NORMALIZATIONS), help=about)
        parser.add_argument('--bgr', action='store_true', help='the model takes blue first; with --normalize')
        parser.add_argument('--output', help='name of the map; default: the first output of four axes, or three')


def onnx_options(args: argparse.Namespace) -> OnnxOptions:
    """Return what the command line says of an ONNX file.

    Raises:
        InputError: options that would do nothing.
    """
    if args.bgr and args.normalize is None:
        raise InputError('--bgr would do nothing without --normalize; give it, too')
    input_size = pair(args.input_size, '--input-size')
    return OnnxOptions(args.device, args.normalize, args.bgr, args.output, input_size)


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
    tasks = list_tasks(args.data, name_files, args.root, cameras=args.cameras, skip_missing=args.skip_missing)
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


def ran_on_cluster(tool: str, args: argparse.Namespace) -> bool:
    """Run the command as jobs of a cluster if that is asked for; return whether it was.

    Raises:
        InputError: options that contradict each other, or no cluster.
    """
    check_launcher(args)
    if args.launcher != 'slurm':
        return False
    run_parts(tool, sys.argv[1:], args.jobs or JOBS, args.out / 'slurm', args.slurm or {})
    return True


def extraction_options(args: argparse.Namespace, name: str, settings: Mapping[str, Any]) -> ExtractionOptions:
    """Return where files go, and how."""
    computing = {key: getattr(args, key) for key in ('batch', 'workers') if hasattr(args, key)}
    return ExtractionOptions(args.out, name, settings, part=args.part or (0, 1), **computing)
