"""Write the features of a foundation model: extract_features.py KIND --data INFOS .. --model MODEL --out DIR.

extract_features.py depth_anything CONFIG --cfg-options depth_cache=DIR writes those that a network computes itself.
"""

from __future__ import annotations

import argparse
import sys

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.engine.command_line import (
    add_extraction,
    add_precision,
    config_parser,
    extraction_views,
    file_path,
    refuse_together,
    view_words,
)
from projects.DistillNeRF.engine.depth_features import write_depth_features
from projects.DistillNeRF.engine.environment import require_one_process
from projects.DistillNeRF.engine.extract_features import NAME, FeatureChoice, extract_features, feature_files
from projects.DistillNeRF.engine.extraction import ExtractionOptions, list_tasks
from projects.DistillNeRF.engine.extraction_jobs import run_parts
from projects.DistillNeRF.foundation_models.features import KINDS
from projects.DistillNeRF.foundation_models.preprocess import NORMALIZATIONS, named_normalization
from projects.DistillNeRF.foundation_models.reduction import CHANNELS
from projects.DistillNeRF.utils.errors import InputError, command

SAMPLE, JOBS = 200, 8
FROZEN_DEPTH = 'depth_anything'


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('kind', choices=KINDS, help=f'what the model is (docs/TEACHERS.md), or {FROZEN_DEPTH}')
    about = 'folder, name of a model in the local cache of the hub, or, for onnx, a file'
    parser.add_argument('--model', required=True, help=about)
    add_extraction(parser, 'root of the features, data_prefix.features of a student')
    about = 'height and width that images are brought to; default: as the model was trained'
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help=about)
    parser.add_argument('--channels', type=int, help=f'channels after the PCA; default: {CHANNELS}')
    parser.add_argument('--sample', type=int, help=f'images that the PCA is fitted on; default: {SAMPLE}')
    parser.add_argument('--pca', type=file_path, metavar='NPZ', help='a PCA that was made before; default: fit one')
    parser.add_argument('--only-pca', action='store_true', help='fit the PCA and write no features')
    parser.add_argument('--stride', type=int, help='pixels from patch to patch; default: those of a patch; not onnx')
    add_precision(parser, None)
    parser.add_argument('--output', help='onnx: name of the feature map; default: the first output of four axes')
    about = (
        'onnx, required: colors as the model takes them: unit 0 to 1, byte 0 to 255, half -1 to 1, or scaled as named'
    )
    parser.add_argument('--normalize', choices=tuple(NORMALIZATIONS), help=about)
    parser.add_argument('--bgr', action='store_true', help='onnx: the model takes blue first')
    return parser.parse_args(view_words(sys.argv[1:]))


def choose(args: argparse.Namespace) -> FeatureChoice:
    """Return which features the options ask for.

    Raises:
        InputError: options that do nothing together, or numbers that are too small.
    """
    refuse_together(args, '--pca', ('--channels', '--sample', '--only-pca'), 'is a PCA that was made before')
    refuse_together(args, '--only-pca', ('--part',), 'is one for all parts')
    numbers = {'--channels': args.channels, '--sample': args.sample, '--size': args.size and min(args.size)}
    for option, value in numbers.items():
        if value is not None and value < 1:
            raise InputError(f'{option} is {value}; give 1 or more')
    if args.only_pca and args.launcher == 'slurm':
        raise InputError('--only-pca is one job, the first of --launcher slurm; leave one of the two away')
    only = ('--stride', '--precision') if args.kind == 'onnx' else ('--output', '--normalize', '--bgr')
    for option in only:
        if getattr(args, option.lstrip('-')) not in (None, False):
            raise InputError(f'{option} does nothing for {args.kind}; leave it away')
    if args.kind == 'onnx' and args.normalize is None:
        raise InputError(f'--normalize: an ONNX file does not say it; choose from {", ".join(NORMALIZATIONS)}')
    return FeatureChoice(
        kind=args.kind,
        model=args.model,
        device=args.device,
        size=None if args.size is None else (args.size[0], args.size[1]),
        channels=args.channels or CHANNELS,
        stride=args.stride,
        output=args.output,
        normalization=named_normalization(args.normalize, args.bgr) if args.normalize else None,
        precision=args.precision or 'fp32',
        sample=args.sample or SAMPLE,
        reduction=args.pca,
    )


def extract_frozen_depth(words: list[str]) -> None:
    """Write the frozen-depth features that the input images of a config have."""
    parser = config_parser('Write the frozen-depth features of a config with depth_cache=DIR.', checkpoint=False)
    parser.prog = f'extract_features.py {FROZEN_DEPTH}'
    parser.add_argument('--device', default='cpu', help='where the network computes, such as cuda')
    args = parser.parse_args(words)
    for line in write_depth_features(load_config(args.config, args.cfg_options), args.device):
        print(line)


@command
def main() -> None:
    """Extract the features of all images, here or in the jobs of a cluster."""
    if sys.argv[1:2] == [FROZEN_DEPTH]:
        require_one_process()
        extract_frozen_depth(sys.argv[2:])
        return
    args = parse_args()
    require_one_process()
    choice, views = choose(args), extraction_views(args)
    tasks = list_tasks(args.data, feature_files, args.root, views, args.teacher, args.cameras, args.skip_missing)
    if args.launcher == 'slurm':
        first = () if args.pca else ('--only-pca',)
        run_parts('extract_features', sys.argv[1:], args.jobs or JOBS, args.out / 'slurm', args.slurm or {}, first)
        return
    options = ExtractionOptions(args.out, NAME, {}, args.batch, args.workers, args.part or (0, 1))
    done = extract_features(tasks, choice, options, args.only_pca)
    shape = f' of {" x ".join(map(str, done.values[0][1]))}' if done.values else ''
    print(f'{args.out}: {done.written} maps{shape} written, {done.kept} kept')


if __name__ == '__main__':
    main()
