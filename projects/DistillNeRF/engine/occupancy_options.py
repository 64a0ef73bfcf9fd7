"""Options of the commands that predict occupancy: when a voxel is occupied, and what tells its class."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmengine.config import Config

from ..configuration.config import load_config
from ..configuration.keys import DATA_AND_NETWORK, warn_of_unread
from ..evaluation.occupancy.from_scene import GridSampling
from ..evaluation.occupancy.voxel_classes import SEMANTICS, Semantics
from ..semantics.label_sets import LABEL_SETS
from ..semantics.phrases import read_phrases
from ..semantics.text_encoders import COMBINATIONS
from ..utils.errors import InputError
from .command_line import file_path


def add_sampling(parser: argparse.ArgumentParser, densities: Sequence[float] | None = None) -> None:
    """Add the settings of a ``GridSampling``: ``--lattice``, ``--min-density`` and ``--dilation``.

    Args:
        parser: of the command.
        densities: of a command that takes several values of each, the usual ones; None: it takes one value of each.
    """
    usual = GridSampling()
    settings = (
        ('--lattice', int, 'N', usual.lattice, 'points per axis at which a voxel is looked at'),
        ('--min-density', float, 'D', usual.min_density, 'density, per meter, from which on a voxel is occupied'),
        ('--dilation', int, 'N', usual.dilation, 'voxels by which everything grows then'),
    )
    for name, kind, metavar, value, about in settings:
        if densities is None:
            parser.add_argument(name, type=kind, default=value, metavar=metavar, help=f'{about} (default: {value})')
            continue
        values = list(densities) if name == '--min-density' else [value]
        told = f'{about}; default: {" ".join(map(str, values))}'
        parser.add_argument(name, type=kind, nargs='+', default=values, metavar=metavar, help=told)


def add_semantics(parser: argparse.ArgumentParser) -> None:
    """Add ``--semantics`` and the options of its kinds; :func:`config_and_semantics` reads them."""
    about = 'what tells classes: class codes of MiniTown, phrases, label maps of the images, or nothing (default)'
    parser.add_argument('--semantics', choices=SEMANTICS, default=SEMANTICS[0], help=about)
    about = 'text: JSON file of the phrases of each class; default: the usual ones'
    parser.add_argument('--phrases', type=file_path, metavar='FILE', help=about)
    about = 'text: a class is as like a voxel as the best of its phrases (default), or their mean'
    parser.add_argument('--combine', choices=COMBINATIONS, help=about)
    about = 'labels: folder of label maps, samples_0_0_0_0_0_0/labels/CAMERA/IMAGE.png'
    parser.add_argument('--label-maps', type=file_path, metavar='DIR', help=about)
    parser.add_argument('--label-set', choices=LABEL_SETS, help='labels: what the numbers in label maps are')


def config_and_semantics(args: argparse.Namespace) -> tuple[Config, Semantics]:
    """Load the config, whose test data know of the label maps then.

    Raises:
        InputError: options that mean nothing, a bad config or a bad file of phrases.
    """
    options = dict(args.cfg_options or {})
    if args.label_maps is not None:
        if args.semantics != 'labels':
            raise InputError('--label-maps does nothing without --semantics labels; leave it away')
        options['test_dataloader.dataset.label_maps'] = str(args.label_maps.resolve())
    config = load_config(args.config, options, sections=('model', 'test_dataloader'))
    warn_of_unread(options, DATA_AND_NETWORK)
    semantics = Semantics(
        args.semantics,
        config.model.get('text_encoder') if args.semantics == 'text' else None,
        None if args.phrases is None else read_phrases(args.phrases),
        args.combine,
        args.label_set,
    )
    semantics.check(option)
    return config, semantics


def option(name: str) -> str:
    """Return the option of a command that sets a setting."""
    return f'--{name.replace("_", "-")}'
